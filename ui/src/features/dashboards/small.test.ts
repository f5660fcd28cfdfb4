import { describe, expect, it } from "vitest";
import { conditionsOf, exploreOf, narrowedBy } from "./actions";
import { wordsOf } from "./fields";
import { foldersOf, found, tagsOf } from "./list";
import { bucketIn, type DashboardSummary, durationMs, freshId } from "./spec";
import { picked } from "./VariablesBar";
import { chosenOf } from "./variables";

const board = (title: string, more: Partial<DashboardSummary> = {}): DashboardSummary => ({
  id: title,
  title,
  description: "",
  tags: [],
  folder: "",
  built_in: false,
  revision: 1,
  panels: 1,
  created_by: "ann",
  created_at: null,
  updated_by: "ann",
  updated_at: null,
  ...more,
});

describe("lists of dashboards", () => {
  const all = [
    board("Checkout", { tags: ["slo", "team-a"], folder: "Shop" }),
    board("Auth", { tags: ["slo"], description: "sign-in" }),
    board("SLA metrics", { built_in: true, folder: "Heimdall" }),
  ];
  const titles = (text: string, more: { tag?: string; folder?: string } = {}): string[] =>
    found(all, { text, ...more }).map((one) => one.title);
  it("show built-in ones first, and find every word anywhere", () => {
    expect(titles("")).toEqual(["SLA metrics", "Auth", "Checkout"]);
    expect(titles("SIGN auth")).toEqual(["Auth"]);
    expect(titles("shop")).toEqual(["Checkout"]);
    expect(titles("", { tag: "slo" })).toEqual(["Auth", "Checkout"]);
    expect(titles("", { folder: "Shop" })).toEqual(["Checkout"]);
    expect(titles("nothing")).toEqual([]);
  });
  it("know their tags and folders", () => {
    expect(tagsOf(all)).toEqual(["slo", "team-a"]);
    expect(foldersOf(all)).toEqual(["Heimdall", "Shop"]);
  });
});

describe("where panels lead", () => {
  const question = {
    query: 'level>=error "a | b" || x | stats count() by service',
    language: "search" as const,
    from: "now-1h",
    to: "now",
  };
  it("keeps the conditions and adds one", () => {
    expect(conditionsOf(question.query)).toBe('level>=error "a | b" || x');
    expect(narrowedBy(question, "service", "EDGE LB").query).toBe('level>=error "a | b" || x service:"EDGE LB"');
    expect(narrowedBy(question, "service", "(none)").query).toMatch(/-exists:service$/);
    expect(narrowedBy({ ...question, language: "sql" }, "service", "x").query).toBe(question.query);
    expect(exploreOf(question)).toMatchObject({ lang: "search", from: "now-1h" });
  });
});

describe("what is chosen", () => {
  const service = { name: "service", label: "Service", multi: true };
  it("is all at first, then what is picked, and all again when nothing is left", () => {
    expect(chosenOf(service, undefined, ["a"])).toEqual({ all: true, values: [] });
    const one = picked({ all: true, values: [] }, "a");
    expect(one).toEqual({ all: false, values: ["a"] });
    expect(picked(one, "b").values).toEqual(["a", "b"]);
    expect(picked(one, "a")).toEqual({ all: true, values: [] });
  });
  it("of a single one is the first, unless the dashboard or the address says otherwise", () => {
    const single = { name: "ms", label: "", values: ["100", "200"] };
    expect(chosenOf(single, undefined, ["100", "200"]).values).toEqual(["100"]);
    expect(chosenOf({ ...single, default: "200" }, undefined, ["100", "200"]).values).toEqual(["200"]);
    expect(chosenOf(single, "500", ["100", "200"]).values).toEqual(["500"]);
  });
});

describe("small things", () => {
  it("reads durations and buckets", () => {
    expect([durationMs("30s"), durationMs("5m"), durationMs("off"), durationMs(null)]).toEqual([
      30_000,
      300_000,
      null,
      null,
    ]);
    expect([
      bucketIn("| timechart 5m count()"),
      bucketIn("by bin(1h)"),
      bucketIn("| rate span=1m"),
      bucketIn("| timechart count()"),
    ]).toEqual([300_000, 3_600_000, 60_000, null]);
  });
  it("finds ids and words", () => {
    expect(freshId(["panel-2"])).toBe("panel-3");
    expect(wordsOf(" a, b ,, a")).toEqual(["a", "b"]);
  });
});
