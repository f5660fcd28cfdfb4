import { describe, expect, it } from "vitest";
import { compareCells } from "./AnswerTable";
import { formatCell, formatValue, toMs, toName, toNumber } from "./cells";

describe("cells", () => {
  it("are numbers only when they are", () => {
    expect([toNumber(5), toNumber("5.5"), toNumber("1e3"), toNumber("9007199254740993")]).toEqual([
      5, 5.5, 1000, 9007199254740992,
    ]);
    expect([toNumber("5 ms"), toNumber(""), toNumber(null), toNumber(true), toNumber(Number.NaN)]).toEqual([
      null,
      null,
      null,
      null,
      null,
    ]);
  });

  it("are times with what is below a millisecond", () => {
    expect(toMs("1970-01-01T00:00:01.5Z")).toBe(1500);
    expect(toMs("1970-01-01T00:00:00.000250000Z")).toBeCloseTo(0.25, 9);
    expect(toMs("1970-01-01T01:00:00.000000000+01:00")).toBe(0);
    expect(toMs("soon")).toBeNull();
  });

  it("have a name, absent ones too", () => {
    expect([toName(null), toName(""), toName(false), toName({ a: 1 })]).toEqual([
      "(none)",
      "(none)",
      "false",
      '{"a":1}',
    ]);
  });

  it("are written whole", () => {
    const options = { zone: "UTC" };
    expect(formatCell("9007199254740993", { name: "n", type: "int" }, options)).toBe("9,007,199,254,740,993");
    expect(formatCell("2026-01-01T00:00:00.123456789Z", { name: "t", type: "time" }, options)).toBe(
      "2026-01-01 00:00:00.123",
    );
    expect(formatCell(1500, { name: "d", type: "float" }, { ...options, unit: "ms" })).toBe("1.5 s");
    expect(formatCell(0.123456, { name: "d", type: "float" }, options)).toBe("0.1235");
    expect(formatCell(null, { name: "d", type: "float" }, options)).toBe("–");
  });

  it("keep what is missing to the whole", () => {
    expect([formatValue(99.9467, "percent"), formatValue(0.99995, "share"), formatValue(1, "share")]).toEqual([
      "99.947 %",
      "99.995 %",
      "100 %",
    ]);
  });

  it("sort by number, exactly, with nothing last", () => {
    const sorted = [null, "9007199254740993", 2, "9007199254740992", 10].sort(compareCells);
    expect(sorted).toEqual([2, 10, "9007199254740992", "9007199254740993", null]);
  });
});
