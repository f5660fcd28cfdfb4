import { describe, expect, it } from "vitest";
import { formatBytes, formatMs, formatNumber, formatSeconds, formatShare, formatShort } from "./format";

describe("numbers for people", () => {
  it.each([
    [0, "0"],
    [9999, "9999"],
    [12_345, "12.3k"],
    [1_234_567, "1.23M"],
    [2e9, "2G"],
    [0.0123, "0.0123"],
    [-45_000, "-45k"],
  ])("%d is short as %s", (value, text) => expect(formatShort(value)).toBe(text));

  it("keeps digits of large integers", () => {
    expect(formatNumber(9_007_199_254_740_993n)).toBe("9,007,199,254,740,993");
  });

  it("writes units", () => {
    expect(formatBytes(1536)).toBe("1.5 KiB");
    expect(formatBytes(0)).toBe("0 B");
    expect(formatMs(0.42)).toBe("0.42 ms");
    expect(formatMs(2500)).toBe("2.5 s");
    expect(formatSeconds(15_125)).toBe("4h 12m");
    expect(formatSeconds(0)).toBe("0s");
    expect(formatShare(0.0123)).toBe("1.23 %");
  });
});
