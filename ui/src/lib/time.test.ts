import { describe, expect, it } from "vitest";
import { bucketOf, formatAgo, formatTime, resolveRange, resolveTime } from "./time";

const NOW = Date.parse("2026-03-29T12:00:00Z");

describe("times", () => {
  it("resolves what the server takes", () => {
    expect(resolveTime("now", NOW)).toBe(NOW);
    expect(resolveTime("now-15m", NOW)).toBe(NOW - 900_000);
    expect(resolveTime("now-2w", NOW)).toBe(NOW - 14 * 86_400_000);
    expect(resolveTime("2026-03-29T11:00:00Z", NOW)).toBe(NOW - 3_600_000);
    expect(resolveTime("yesterdayish", NOW)).toBeNull();
  });

  it("puts the ends of a range in order", () => {
    expect(resolveRange({ from: "now", to: "now-1h" }, NOW)).toEqual({ from: NOW - 3_600_000, to: NOW });
  });

  it("shows a time in a zone, across its change of clocks", () => {
    expect(formatTime("2026-03-29T00:30:00Z", "Europe/Berlin", "minute")).toBe("2026-03-29 01:30");
    expect(formatTime("2026-03-29T01:30:00Z", "Europe/Berlin", "minute")).toBe("2026-03-29 03:30");
    expect(formatTime("2026-03-29T01:30:00.123456789Z", "UTC", "ms")).toBe("2026-03-29 01:30:00.123");
    expect(formatTime("2026-03-29T00:00:00Z", "UTC", "second")).toBe("2026-03-29 00:00:00");
    expect(formatTime(null, "UTC")).toBe("–");
  });

  it("tells how long ago", () => {
    expect(formatAgo(NOW - 90_000, NOW)).toBe("1m");
    expect(formatAgo(NOW + 300_000, NOW)).toBe("in 5m");
  });

  it("chooses buckets that fit", () => {
    expect(bucketOf({ from: "now-1h", to: "now" }).span).toBe("1m");
    expect(bucketOf({ from: "now-7d", to: "now" }).span).toBe("3h");
  });
});
