import { expect, it } from "vitest";
import { trendPath } from "./Figures";
import { isolated, toggled } from "./Legend";
import { placeMarks } from "./Overlay";

it("legends show, hide and isolate", () => {
  const names = ["a", "b", "c"];
  expect([...toggled(new Set(), "a")]).toEqual(["a"]);
  expect([...toggled(new Set(["a"]), "a")]).toEqual([]);
  const alone = isolated(new Set(), names, "b");
  expect([...alone]).toEqual(["a", "c"]);
  expect([...isolated(alone, names, "b")]).toEqual([]);
  expect([...isolated(alone, names, "a")]).toEqual(["b", "c"]);
});

it("marks stand where they were, and end at the edges of the plot", () => {
  const marks = [
    { at: 10, text: "in" },
    { at: -50, until: 20, text: "began before" },
    { at: 90, until: 300, text: "goes on" },
    { at: 200, text: "later" },
    { at: Number.NaN, text: "never" },
  ];
  expect(placeMarks(marks, (ms) => ms, 0, 100).map(({ mark, left, width }) => [mark.text, left, width])).toEqual([
    ["in", 10, 0],
    ["began before", 0, 20],
    ["goes on", 90, 10],
  ]);
});

it("trends are broken where values are missing", () => {
  expect(trendPath([1, 2, null, 2])).toBe("M0.00 50.00L33.33 2.00M100.00 2.00");
  expect(trendPath([1, null])).toBe("");
});
