import { describe, expect, it } from "vitest";
import { Feed, order, WAITING_MAX } from "./feed";
import { filterOf } from "./filter";
import type { AlertRow, Severity, Status } from "./model";

const NOW = Date.parse("2026-03-01T12:00:00Z");

function row(id: string, at: number, changes: Partial<AlertRow> = {}): AlertRow {
  return {
    id,
    title: `alert ${id}`,
    summary: "",
    rule: "r",
    detector: "d",
    severity: "WARNING" as Severity,
    status: "OPEN" as Status,
    priority: "P2",
    service: "payment",
    entity: { kind: "service", value: "payment" },
    raised_at: new Date(NOW + at * 1000).toISOString(),
    last_seen: new Date(NOW + at * 1000).toISOString(),
    count: 1,
    assignee: null,
    incident: null,
    suppressed_until: null,
    muted: null,
    tenant: "default",
    labels: {},
    ...changes,
  };
}

function feed(search: Record<string, string> = {}, next: string | null = null): Feed {
  const made = new Feed(filterOf(search));
  made.load([row("c", 3), row("b", 2), row("a", 1)], next, NOW);
  return made;
}

const ids = (of: Feed): string => of.rows.map((each) => each.id).join("");

describe("a list of pages and live changes", () => {
  it("puts a new alert in its place at the top, and keeps it waiting while the reader is further down", () => {
    const list = feed();
    list.change([row("d", 4)], false, NOW);
    expect(ids(list)).toBe("dcba");
    list.change([row("e", 5), row("f", 6)], true, NOW);
    expect(ids(list)).toBe("dcba");
    expect(list.waitingCount).toBe(2);
    list.release();
    expect(ids(list)).toBe("fedcba");
    expect(list.waitingCount).toBe(0);
  });

  it("changes rows in place, once, whatever the order they were seen in", () => {
    const list = feed({ sort: "last_seen" });
    list.change([row("a", 9, { count: 2 }), row("a", 10, { count: 3 })], false, NOW);
    expect(ids(list)).toBe("cba");
    expect(list.rows[2]?.count).toBe(3);
  });

  it("lets go of what no longer fits", () => {
    const list = feed({ status: "open" });
    list.change([row("b", 2, { status: "ACKNOWLEDGED" })], false, NOW);
    expect(ids(list)).toBe("ca");
    list.change([row("x", 7)], true, NOW);
    list.change([row("x", 7, { status: "RESOLVED" })], true, NOW);
    expect(list.waitingCount).toBe(0);
  });

  it("leaves what lies beyond the loaded pages to its page", () => {
    const list = feed({}, "more");
    list.change([row("0", -5)], false, NOW);
    expect(ids(list)).toBe("cba");
    list.append([row("a", 1), row("0", -5)], null);
    expect(ids(list)).toBe("cba0");
    list.change([row("1", -9)], false, NOW);
    expect(ids(list)).toBe("cba01");
  });

  it("keeps changes that come before the first page", () => {
    const list = new Feed(filterOf({}));
    list.change([row("b", 2, { status: "ACKNOWLEDGED" }), row("z", 9)], false, NOW);
    list.load([row("b", 2), row("a", 1)], null, NOW);
    expect(ids(list)).toBe("zba");
    expect(list.rows[1]?.status).toBe("ACKNOWLEDGED");
  });

  it("takes a foreseen change back, but not over newer news", () => {
    const list = feed({ status: "open" });
    const undo = list.foresee(new Set(["a", "b"]), (each) => ({ ...each, status: "ACKNOWLEDGED" as Status }), NOW);
    expect(ids(list)).toBe("c");
    undo();
    expect(ids(list)).toBe("cba");
    const all = feed();
    const again = all.foresee(new Set(["a", "b"]), (each) => ({ ...each, status: "ACKNOWLEDGED" as Status }), NOW);
    all.change([row("a", 1, { status: "SUPPRESSED" })], false, NOW);
    again();
    expect(all.rows.map((each) => each.status)).toEqual(["OPEN", "OPEN", "SUPPRESSED"]);
  });

  it("bounds what waits", () => {
    const list = feed();
    list.change(
      Array.from({ length: WAITING_MAX + 5 }, (_, n) => row(`n${n}`, 10 + n)),
      true,
      NOW,
    );
    expect(list.waitingCount).toBe(WAITING_MAX + 5);
    expect(list.overflows).toBe(true);
  });

  it("orders the worst first", () => {
    const rows = [row("w", 9), row("c", 1, { severity: "CRITICAL", priority: "P1" }), row("v", 3, { priority: "P1" })];
    expect(rows.sort((a, b) => order("worst", a, b)).map((each) => each.id)).toEqual(["c", "v", "w"]);
  });

  it("merges a change into a hundred thousand rows in little time", () => {
    const many = new Feed(filterOf({}));
    many.load(
      Array.from({ length: 100_000 }, (_, n) => row(`r${n}`, -n)),
      null,
      NOW,
    );
    const from = performance.now();
    many.change([row("r50000", -50_000, { count: 9 }), row("new", 1)], false, NOW);
    expect(performance.now() - from).toBeLessThan(250);
    expect(many.rows.length).toBe(100_001);
    expect(many.rows[0]?.id).toBe("new");
  });
});
