import { describe, expect, it } from "vitest";
import { axisTime, type Mark, together } from "./timeOption";

const mark = (at: number, kind: Mark["kind"], text: string): Mark => ({ at, kind, text });

describe("marks", () => {
  it("of a kind that stand side by side become one", () => {
    const found = together(
      [
        mark(0, "incident", "#1"),
        mark(5, "deployment", "v2"),
        mark(8, "incident", "#2"),
        mark(9, "incident", "#3"),
        mark(30, "incident", "#4"),
      ],
      10,
    );
    expect(found.map(({ at, text }) => [at, text])).toEqual([
      [0, "#1 and 2 more"],
      [5, "v2"],
      [30, "#4"],
    ]);
  });
});

describe("times on an axis", () => {
  it("have a day where the range is longer than one", () => {
    const at = Date.parse("2026-02-09T20:25:00Z");
    expect(axisTime(at, "UTC", 3_600_000)).toBe("20:25");
    expect(axisTime(at, "UTC", 7 * 86_400_000)).toBe("02-09 20:25");
  });
});
