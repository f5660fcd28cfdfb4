import { describe, expect, it } from "vitest";
import type { Answer } from "@/api/query";
import { calendarOf, daysUntil } from "./calendar";

const answer = (...rows: [string, number, number, number][]): Answer => ({
  columns: ["quarter", "alerts", "score", "critical"].map((name) => ({ name, type: "any" })),
  rows,
  stats: {},
});
const now = Date.parse("2026-03-30T12:00:00Z");

describe("days of the calendar", () => {
  it("go back from today, also over a change of the clocks", () => {
    expect(daysUntil(now, 3, "UTC")).toEqual(["2026-03-30", "2026-03-29", "2026-03-28"]);
    expect(daysUntil(Date.parse("2026-03-30T00:30:00Z"), 3, "Europe/Berlin")).toEqual([
      "2026-03-30",
      "2026-03-29",
      "2026-03-28",
    ]);
    expect(daysUntil(Date.parse("2026-10-26T05:00:00Z"), 4, "America/New_York")).toHaveLength(4);
  });
});

describe("hours of the calendar", () => {
  it("gather their quarters", () => {
    const calendar = calendarOf(
      answer(
        ["2026-03-30T10:00:00Z", 2, 0.4, 0],
        ["2026-03-30T10:45:00Z", 3, 0.9, 1],
        ["2026-03-29T23:15:00Z", 1, 1, 1],
      ),
      now,
      7,
      "UTC",
    );
    expect(calendar.hours).toEqual([
      {
        day: 0,
        hour: 10,
        score: 0.9,
        alerts: 5,
        critical: 1,
        from: Date.parse("2026-03-30T10:00:00Z"),
        to: Date.parse("2026-03-30T11:00:00Z"),
      },
      {
        day: 1,
        hour: 23,
        score: 1,
        alerts: 1,
        critical: 1,
        from: Date.parse("2026-03-29T23:00:00Z"),
        to: Date.parse("2026-03-30T00:00:00Z"),
      },
    ]);
  });
  it("are of the zone, also where it is off by quarters", () => {
    const { hours } = calendarOf(
      answer(["2026-03-29T20:15:00Z", 1, 1, 0], ["2026-03-29T20:00:00Z", 1, 1, 0]),
      now,
      7,
      "Asia/Kathmandu",
    );
    expect(hours.map(({ day, hour, from }) => [day, hour, new Date(from).toISOString()])).toEqual([
      [0, 1, "2026-03-29T19:15:00.000Z"],
      [0, 2, "2026-03-29T20:15:00.000Z"],
    ]);
  });
  it("leave out what is older than the calendar, and nonsense", () => {
    expect(calendarOf(answer(["2026-03-01T00:00:00Z", 1, 1, 0], ["never", 1, 1, 1]), now, 7, "UTC").hours).toEqual([]);
  });
});
