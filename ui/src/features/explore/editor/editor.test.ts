import { describe, expect, it } from "vitest";
import { unitsOfByte, valueAt } from "./complete";
import { remembered, step } from "./history";
import { unitsOf } from "./places";

describe("places", () => {
  it("turns characters into units", () => {
    expect(unitsOf("é👍 foo(a)", { column: 4, length: 3, message: "" })).toEqual({ from: 4, to: 7 });
    expect(unitsOf("level:foo", { column: 7, length: 3, message: "" })).toEqual({ from: 6, to: 9 });
  });
  it("finds the line of a mistake", () => {
    expect(unitsOf("select 1\nfrm x", { line: 2, column: 1, length: 3, message: "" })).toEqual({ from: 9, to: 12 });
  });
  it("underlines the last character for a mistake at the end", () => {
    expect(unitsOf("a | stats", { column: 10, length: 0, message: "" })).toEqual({ from: 8, to: 9 });
    expect(unitsOf("", { column: 1, length: 1, message: "" })).toEqual({ from: 0, to: 0 });
  });
  it("turns bytes into units", () => {
    expect(unitsOfByte("é👍x", 6)).toBe(3);
  });
});

describe("values being written", () => {
  it.each([
    ["service:", "service", ""],
    ["service:pay", "service", "pay"],
    ['a http.route="/a', "http.route", "/a"],
    ["-host:db", "host", "db"],
  ])("%s", (text, field, started) => expect(valueAt(text)).toMatchObject({ field, started }));

  it.each(["service", "service:pay ", 'service:"done"', "duration_ms>5", "| stats count()"])("none in %s", (text) =>
    expect(valueAt(text)).toBeNull(),
  );
});

describe("earlier questions", () => {
  it("keeps each once, newest first", () => {
    const list = remembered(remembered([], { language: "search", query: "a" }), { language: "search", query: "b" });
    expect(remembered(list, { language: "search", query: " a " }).map((one) => one.query)).toEqual(["a", "b"]);
    expect(remembered(list, { language: "search", query: "  " })).toEqual(list);
  });
  it("steps back and forth", () => {
    expect(step(["c", "b", "a"], "", 1)).toBe("c");
    expect(step(["c", "b", "a"], "c", 1)).toBe("b");
    expect(step(["c", "b", "a"], "a", 1)).toBeNull();
    expect(step(["c", "b", "a"], "c", -1)).toBe("");
    expect(step(["c", "b", "a"], "unsent", -1)).toBeNull();
  });
});
