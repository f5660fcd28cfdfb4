import { describe, expect, it } from "vitest";
import {
  breakpointOf,
  freePlace,
  pack,
  placesFor,
  type Step,
  same,
  stepped,
  withoutPanel,
  withPanel,
  withPlaces,
} from "./layout";
import { type DashboardSpec, emptySpec, type Panel, type Place } from "./spec";

/** `a 0,0 6x4` for each place. */
function at(text: string): Place[] {
  return text.split(" · ").map((one) => {
    const [i = "", x = 0, y = 0, w = 0, h = 0] = (/^(\w+) (\d+),(\d+) (\d+)x(\d+)$/.exec(one) ?? []).slice(1);
    return { i: String(i), x: Number(x), y: Number(y), w: Number(w), h: Number(h) };
  });
}

const shown = (places: Place[]): string => places.map(({ i, x, y, w, h }) => `${i} ${x},${y} ${w}x${h}`).join(" · ");

const panel = (id: string, viz: Panel["viz"] = "line"): Panel => ({
  id,
  title: id,
  viz,
  query: "",
  language: "search",
});

function spec(lg: string, more: Partial<DashboardSpec> = {}): DashboardSpec {
  const places = at(lg);
  return { ...emptySpec(), panels: places.map((place) => panel(place.i)), layouts: { lg: places }, ...more };
}

describe("breakpoints", () => {
  it.each([
    [1200, "lg"],
    [1199, "md"],
    [996, "md"],
    [995, "sm"],
    [768, "sm"],
    [767, "xs"],
  ])("at %d is %s", (width, name) => expect(breakpointOf(width)).toBe(name));
});

describe("packing", () => {
  it.each([
    ["a 0,5 6x4", "a 0,0 6x4"],
    ["a 0,0 12x4 · b 0,2 12x4", "a 0,0 12x4 · b 0,4 12x4"],
    ["a 0,0 12x4 · b 12,9 12x2 · c 0,11 24x2", "a 0,0 12x4 · b 12,0 12x2 · c 0,4 24x2"],
    ["a 20,0 12x4", "a 12,0 12x4"],
    ["a 0,0 40x4", "a 0,0 24x4"],
  ])("%s", (before, after) => expect(shown(pack(at(before), 24))).toBe(after));
});

describe("places of a breakpoint", () => {
  const wide = "a 0,0 4x4 · b 4,0 4x4 · c 8,0 16x4 · d 0,4 12x8 · e 12,4 12x8";
  it("follow from the widest", () => {
    expect(shown(placesFor(spec(wide), "md"))).toBe(wide);
    expect(shown(placesFor(spec(wide), "sm"))).toBe("a 0,0 4x4 · b 4,0 4x4 · c 0,4 8x4 · d 0,8 6x8 · e 6,8 6x8");
  });
  it("put numbers in pairs on phones, and everything else below each other", () => {
    const board = spec(wide);
    board.panels[0] = panel("a", "number");
    board.panels[1] = panel("b", "number");
    expect(shown(placesFor(board, "xs"))).toBe("a 0,0 1x4 · b 1,0 1x4 · c 0,4 2x4 · d 0,8 2x8 · e 0,16 2x8");
  });
  it("are its own where it has them; every panel has one, and only panels", () => {
    const board = spec("a 0,0 12x4", {
      layouts: { lg: at("a 0,0 12x4 · gone 12,0 12x4 · a 3,3 1x1"), md: at("a 6,0 12x2") },
    });
    board.panels.push(panel("new"));
    expect(shown(placesFor(board, "lg"))).toBe("a 0,0 12x4 · new 12,0 12x8");
    expect(shown(placesFor(board, "md"))).toBe("a 6,0 12x2 · new 0,2 12x8");
  });
  it("are kept for the breakpoint they were changed at", () => {
    const board = spec("a 0,0 12x4");
    expect(withPlaces(board, "lg", at("a 0,0 12x4"))).toBe(board);
    expect(withPlaces(board, "xs", at("a 0,0 1x1"))).toBe(board);
    const changed = withPlaces(board, "sm", at("a 0,0 12x4"));
    expect(changed.layouts).toEqual({ lg: at("a 0,0 12x4"), sm: at("a 0,0 12x4") });
  });
});

describe("panels", () => {
  it("are added where there is room in the last row, else below", () => {
    expect(freePlace(at("a 0,0 12x4"), 24, 12, 8)).toEqual({ x: 12, y: 0 });
    expect(freePlace(at("a 0,0 14x4"), 24, 12, 8)).toEqual({ x: 0, y: 4 });
    expect(freePlace([], 24, 12, 8)).toEqual({ x: 0, y: 0 });
    const board = withPanel(
      spec("a 0,0 24x4", { layouts: { lg: at("a 0,0 24x4"), sm: at("a 0,0 12x4") } }),
      panel("b"),
      { w: 14, h: 5 },
    );
    expect(shown(board.layouts.lg)).toBe("a 0,0 24x4 · b 0,4 14x5");
    expect(shown(board.layouts.sm ?? [])).toBe("a 0,0 12x4 · b 0,4 12x5");
    expect(board.layouts.md).toBeUndefined();
  });
  it("take their places with them", () => {
    expect(withoutPanel(spec("a 0,0 4x4 · b 4,0 4x4"), "a")).toMatchObject({
      panels: [{ id: "b" }],
      layouts: { lg: [{ i: "b" }] },
    });
  });
});

describe("steps of the keyboard", () => {
  const board = "a 0,0 12x4 · b 12,0 12x4 · c 0,4 12x4";
  it.each<[string, Step, string]>([
    ["a", "right", "a 1,0 12x4 · b 12,4 12x4 · c 0,4 12x4"],
    ["a", "left", board],
    ["a", "down", "b 12,0 12x4 · c 0,0 12x4 · a 0,4 12x4"],
    ["c", "up", "a 0,4 12x4 · b 12,0 12x4 · c 0,0 12x4"],
    ["c", "down", board],
    ["a", "up", board],
    ["c", "wider", "a 0,0 12x4 · b 12,0 12x4 · c 0,4 13x4"],
    ["b", "wider", "a 0,4 12x4 · b 11,0 13x4 · c 0,8 12x4"],
    ["a", "taller", "a 0,0 12x5 · b 12,0 12x4 · c 0,5 12x4"],
    ["a", "narrower", "a 0,0 11x4 · b 12,0 12x4 · c 0,4 12x4"],
    ["a", "shorter", "a 0,0 12x3 · b 12,0 12x4 · c 0,3 12x4"],
    ["gone", "up", board],
  ])("%s %s", (id, step, after) => {
    const next = stepped(at(board), id, step, "lg");
    expect(same(next, at(after)), shown(next)).toBe(true);
  });
});
