import { describe, expect, it } from "vitest";
import { fileName, nameMistake, readFile, writeFile } from "./files";
import type { DashboardContent } from "./spec";

const valid = (): DashboardContent => ({
  title: "A",
  description: "",
  tags: ["t"],
  folder: "",
  spec: {
    variables: [{ name: "service", label: "Service", query: "| stats count() by service", multi: true, default: null }],
    panels: [
      {
        id: "a",
        title: "A",
        viz: "line",
        query: "| timechart",
        language: "search",
        thresholds: [{ value: 1, tone: "ok" }],
      },
      { id: "b", title: "B", viz: "text", query: "", language: "search", text: "hi" },
    ],
    layouts: { lg: [{ i: "a", x: 0, y: 0, w: 24, h: 8 }] },
    time: { from: "now-6h", to: "now" },
    refresh: "30s",
    annotations: { kinds: ["deployment"] },
  },
});

/** Puts a value at a path like `spec.panels.0.id`. */
function changed(path: string, value: unknown): string {
  const content = valid();
  const steps = path.split(".");
  let at = content as unknown as Record<string, unknown>;
  for (const step of steps.slice(0, -1)) at = at[step] as Record<string, unknown>;
  at[steps.at(-1) ?? ""] = value;
  return JSON.stringify(content);
}

describe("files of dashboards", () => {
  it("are read as they were written", () => {
    const read = readFile(writeFile(valid()));
    expect(read.mistakes).toEqual([]);
    expect(read.content).toEqual(valid());
  });

  it.each([
    ["title", "", "title"],
    ["tags", "t", "tags"],
    ["spec", undefined, "spec"],
    ["spec.panels", null, "spec.panels"],
    ["spec.panels.0", 7, "spec.panels[0]"],
    ["spec.panels.0.id", "", "spec.panels[0].id"],
    ["spec.panels.1.id", "a", "spec.panels[1].id"],
    ["spec.panels.0.viz", "lines", "spec.panels[0].viz"],
    ["spec.panels.0.query", 5, "spec.panels[0].query"],
    ["spec.panels.0.language", "promql", "spec.panels[0].language"],
    ["spec.panels.0.unit", "parsec", "spec.panels[0].unit"],
    ["spec.panels.0.thresholds", [{ value: "1", tone: "ok" }], "spec.panels[0].thresholds"],
    ["spec.panels.0.values", "a", "spec.panels[0].values"],
    ["spec.variables.0.name", "a b", "spec.variables[0].name"],
    ["spec.variables.0.query", undefined, "spec.variables[0]"],
    ["spec.layouts.lg.0.i", "gone", "spec.layouts.lg[0].i"],
    ["spec.layouts.lg.0.w", 25, "spec.layouts.lg[0]"],
    ["spec.layouts.lg.0.x", -1, "spec.layouts.lg[0]"],
    ["spec.layouts.huge", [], "spec.layouts.huge"],
    ["spec.time.from", "yesterday", "spec.time.from"],
    ["spec.refresh", "10ms", "spec.refresh"],
    ["spec.annotations", { kinds: ["party"] }, "spec.annotations.kinds"],
  ])("with %s = %j are wrong at %s", (path, value, at) => {
    const read = readFile(changed(path, value));
    expect(read.content).toBeNull();
    expect(read.mistakes.map((mistake) => mistake.at)).toContain(at);
  });

  it("tell every mistake, up to twenty", () => {
    const panels = Array.from({ length: 60 }, () => 0);
    expect(readFile(JSON.stringify({ title: "", spec: { panels } })).mistakes).toHaveLength(20);
  });

  it("that are no JSON say where", () => {
    expect(readFile("").mistakes[0]?.reason).toBe("is empty");
    expect(readFile('{\n "title": \n}').mistakes[0]?.reason).toMatch(/^is no JSON/);
    expect(readFile("[]").mistakes[0]?.reason).toMatch(/object/);
  });

  it("may be a spec alone, with what is left out put in", () => {
    const read = readFile(
      JSON.stringify({ panels: [{ id: "a", title: "A", viz: "number", query: "| stats count()" }] }),
    );
    expect(read.content).toMatchObject({
      title: "Imported dashboard",
      spec: { variables: [], layouts: { lg: [] }, refresh: null, panels: [{ language: "search" }] },
    });
  });

  it("of another product are named as such", () => {
    expect(readFile('{"schemaVersion":39,"panels":[]}').mistakes[0]?.reason).toMatch(/Grafana/);
  });

  it("have a name that every system takes", () => {
    expect(fileName("SLA / metrics: prod")).toBe("sla-metrics-prod.json");
    expect(fileName("///")).toBe("dashboard.json");
  });
});

it("names of variables", () => {
  expect(nameMistake("service", [])).toBeNull();
  expect(nameMistake("service", ["service"])).toMatch(/another/);
  expect(nameMistake("9a", [])).toMatch(/letter/);
});
