import { describe, expect, it } from "vitest";
import { localInput, localTime, parseDuration, writeDuration } from "./duration";

describe("durations", () => {
  it.each([
    ["1h", 3600],
    ["90m", 5400],
    ["2h 30m", 9000],
    ["1d", 86_400],
    ["1.5h", 5400],
    ["2W", 1_209_600],
    ["0m", null],
    ["", null],
    ["1", null],
    ["h", null],
    ["2h x", null],
    ["400d", null],
  ])("%s is %s seconds", (text, seconds) => expect(parseDuration(text)).toBe(seconds));

  it("writes what the server takes, exactly", () => {
    expect(writeDuration(3600)).toBe("1h");
    expect(writeDuration(5400)).toBe("90m");
    expect(writeDuration(86_400)).toBe("1d");
    expect(writeDuration(61)).toBe("61s");
  });

  it("reads a date box in the browser's zone", () => {
    const at = new Date(2026, 2, 1, 9, 30).getTime();
    expect(localInput(at)).toBe("2026-03-01T09:30");
    expect(localTime("2026-03-01T09:30")).toBe(new Date(at).toISOString());
    expect(localTime("")).toBeNull();
    expect(localTime("never")).toBeNull();
  });
});
