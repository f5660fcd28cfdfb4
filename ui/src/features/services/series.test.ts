import { describe, expect, it } from "vitest";
import type { Answer } from "@/api/query";
import { byName, columnsOverTime, grid, latest, trafficOf, wholeBuckets } from "./series";

const answer = (columns: string[], rows: Answer["rows"]): Answer => ({
  columns: columns.map((name) => ({ name, type: "text" })),
  rows,
  stats: {},
});
const t = (minute: number): string => `2026-01-01T00:0${minute}:00.000000000Z`;
const starts = grid(Date.parse(t(0)), Date.parse(t(2)), 60_000);

describe("series", () => {
  it("has a bucket for every span that touches the range", () => {
    expect(grid(90_000, 200_000, 60_000)).toEqual([60_000, 120_000, 180_000]);
    expect(grid(0, 1e12, 1)).toHaveLength(2000);
  });
  it("leaves out buckets that are cut off, unless nothing else is there", () => {
    expect(wholeBuckets(90_000, 290_000, 60_000)).toEqual([120_000, 180_000]);
    expect(wholeBuckets(90_000, 130_000, 60_000)).toEqual([60_000, 120_000]);
  });
  it("fills buckets without records with nothing", () => {
    const found = byName(
      answer(
        ["service", "timestamp", "n"],
        [
          ["a", t(0), 3],
          ["a", t(2), 5],
          ["b", t(1), 1],
          [null, t(1), 9],
        ],
      ),
      { name: "service", time: "timestamp", value: "n" },
      starts,
    );
    expect([...found]).toEqual([
      ["a", [3, 0, 5]],
      ["b", [0, 1, 0]],
    ]);
  });
  it("tells traffic a second and the share of errors", () => {
    const traffic = trafficOf(
      answer(
        ["timestamp", "level", "count"],
        [
          [t(0), "info", 57],
          [t(0), "error", 2],
          [t(0), "fatal", 1],
          [t(2), "warn", 60],
        ],
      ),
      starts,
      60_000,
    );
    expect(traffic.total).toBe(120);
    expect(traffic.errors).toBe(3);
    expect(traffic.perSecond.map(([, value]) => value)).toEqual([1, 0, 1]);
    expect(traffic.share.map(([, value]) => value)).toEqual([0.05, null, 0]);
  });
  it("leaves gaps in measurements", () => {
    const found = columnsOverTime(
      answer(
        ["timestamp", "p95"],
        [
          [t(0), 4],
          [t(2), 8],
        ],
      ),
      ["p95"],
      starts,
    );
    expect(found.get("p95")?.map(([, value]) => value)).toEqual([4, null, 8]);
    expect(latest(found.get("p95") ?? [])).toBe(8);
    expect(latest([])).toBeNull();
  });
});
