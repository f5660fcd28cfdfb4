/** Where panels stand. The grid has 24 columns (12 on tablets, 2 on phones); panels fall upwards, none lies over another. */
import type { DashboardSpec, Panel, Place } from "./spec";

export type Breakpoint = "lg" | "md" | "sm" | "xs";

/** Widths of the window from which on a breakpoint holds, px. */
export const BREAKPOINTS: Record<Breakpoint, number> = { lg: 1200, md: 996, sm: 768, xs: 0 };
export const COLUMNS: Record<Breakpoint, number> = { lg: 24, md: 24, sm: 12, xs: 2 };
export const ROW_PX = 30;
export const GAP_PX = 8;
const WIDTH_MIN: Record<Breakpoint, number> = { lg: 2, md: 3, sm: 3, xs: 1 };
export const HEIGHT_MIN = 2;
export const HEIGHT_MAX = 60;

export function breakpointOf(width: number): Breakpoint {
  return width >= BREAKPOINTS.lg ? "lg" : width >= BREAKPOINTS.md ? "md" : width >= BREAKPOINTS.sm ? "sm" : "xs";
}

/** Order of reading: from the top, from the left. */
export function inOrder(places: Place[]): Place[] {
  return [...places].sort((a, b) => a.y - b.y || a.x - b.x);
}

function crosses(a: Place, b: Place): boolean {
  return a.x < b.x + b.w && b.x < a.x + a.w;
}

/** Lets every panel fall upwards, in the order of reading; `first` goes before others of the same row. */
export function pack(places: Place[], columns: number, first?: string): Place[] {
  const sorted = [...places].sort((a, b) => a.y - b.y || Number(b.i === first) - Number(a.i === first) || a.x - b.x);
  const placed: Place[] = [];
  for (const one of sorted) {
    const w = Math.max(1, Math.min(columns, Math.round(one.w)));
    const x = Math.max(0, Math.min(columns - w, Math.round(one.x)));
    const next = { ...one, x, w, h: Math.max(1, Math.round(one.h)) };
    next.y = placed.reduce((most, other) => (crosses(next, other) ? Math.max(most, other.y + other.h) : most), 0);
    placed.push(next);
  }
  return inOrder(placed);
}

/** The first free place of a size, from the top. */
export function freePlace(places: Place[], columns: number, w: number, h: number): { x: number; y: number } {
  const bottom = places.reduce((most, one) => Math.max(most, one.y + one.h), 0);
  // Only the last row of panels is filled up; a hole higher up is not where one looks for what was just added.
  const last = inOrder(places).at(-1);
  if (last && last.x + last.w + w <= columns) {
    const spot = { i: "", x: last.x + last.w, y: last.y, w, h };
    if (!places.some((one) => crosses(spot, one) && one.y < spot.y + h && spot.y < one.y + one.h))
      return { x: spot.x, y: spot.y };
  }
  return { x: 0, y: bottom };
}

/** Places at a breakpoint: those that were made for it, else made of the widest. Every panel has one, and only panels have. */
export function placesFor(spec: Pick<DashboardSpec, "panels" | "layouts">, breakpoint: Breakpoint): Place[] {
  const known = new Map(spec.panels.map((panel) => [panel.id, panel]));
  const own = breakpoint === "xs" ? undefined : spec.layouts[breakpoint];
  const given = own ?? narrowed(spec.layouts.lg, breakpoint, known);
  const kept = given.filter(
    (place, index) => known.has(place.i) && given.findIndex((other) => other.i === place.i) === index,
  );
  const columns = COLUMNS[breakpoint];
  const places = [...kept];
  for (const panel of spec.panels) {
    if (places.some((place) => place.i === panel.id)) continue;
    const size = { w: Math.min(columns, columns >= 12 ? columns / 2 : columns), h: 8 };
    places.push({ i: panel.id, ...freePlace(places, columns, size.w, size.h), ...size });
  }
  return pack(places, columns);
}

/** The places of the widest grid for a narrower one: in the order of reading, wide enough to be read. */
function narrowed(places: Place[], breakpoint: Breakpoint, panels: Map<string, Panel>): Place[] {
  if (breakpoint === "lg") return places;
  const columns = COLUMNS[breakpoint];
  if (breakpoint === "md") return places.map((place) => ({ ...place, w: Math.max(place.w, 3) }));
  let x = 0;
  let y = 0;
  let height = 0;
  return inOrder(places).map((place) => {
    const number = panels.get(place.i)?.viz === "number";
    const w =
      breakpoint === "xs"
        ? number && place.w <= 8
          ? 1
          : 2
        : place.w <= 4
          ? 4
          : Math.min(columns, Math.max(4, Math.round(place.w / 2)));
    if (x + w > columns) {
      x = 0;
      y += height;
      height = 0;
    }
    const next = { ...place, x, y, w };
    x += w;
    height = Math.max(height, place.h);
    return next;
  });
}

/** The spec with other places at a breakpoint. Phones take theirs from the widest: nothing is kept for them. */
export function withPlaces(spec: DashboardSpec, breakpoint: Breakpoint, places: Place[]): DashboardSpec {
  if (breakpoint === "xs") return spec;
  const plain = places.map(({ i, x, y, w, h }) => ({ i, x, y, w, h }));
  const before = placesFor(spec, breakpoint);
  if (same(before, plain)) return spec;
  return { ...spec, layouts: { ...spec.layouts, [breakpoint]: inOrder(plain) } };
}

/** Whether two layouts are the same, in whatever order they come. */
export function same(a: Place[], b: Place[]): boolean {
  if (a.length !== b.length) return false;
  const known = new Map(a.map((place) => [place.i, place]));
  return b.every((place) => {
    const other = known.get(place.i);
    return other && other.x === place.x && other.y === place.y && other.w === place.w && other.h === place.h;
  });
}

/** The spec with a panel added at every breakpoint that has places of its own. */
export function withPanel(spec: DashboardSpec, panel: Panel, size: { w: number; h: number }): DashboardSpec {
  const add = (places: Place[], columns: number): Place[] => {
    const w = Math.min(size.w, columns);
    return [...places, { i: panel.id, ...freePlace(places, columns, w, size.h), w, h: size.h }];
  };
  const { lg, md, sm } = spec.layouts;
  return {
    ...spec,
    panels: [...spec.panels, panel],
    layouts: { lg: add(lg, 24), ...(md ? { md: add(md, 24) } : {}), ...(sm ? { sm: add(sm, 12) } : {}) },
  };
}

/** The spec without a panel. */
export function withoutPanel(spec: DashboardSpec, id: string): DashboardSpec {
  const drop = (places: Place[]): Place[] => places.filter((place) => place.i !== id);
  const { lg, md, sm } = spec.layouts;
  return {
    ...spec,
    panels: spec.panels.filter((panel) => panel.id !== id),
    layouts: { lg: drop(lg), ...(md ? { md: drop(md) } : {}), ...(sm ? { sm: drop(sm) } : {}) },
  };
}

export type Step = "left" | "right" | "up" | "down" | "wider" | "narrower" | "taller" | "shorter";

/** Moves or resizes a panel by a step: what the pointer does, for the keyboard. Returns the same places when it cannot. */
export function stepped(places: Place[], id: string, step: Step, breakpoint: Breakpoint): Place[] {
  const columns = COLUMNS[breakpoint];
  const one = places.find((place) => place.i === id);
  if (!one) return places;
  const next = { ...one };
  const others = places.filter((place) => place.i !== id);
  const beside = others.filter((other) => crosses(one, other));
  switch (step) {
    case "left":
      next.x = Math.max(0, one.x - 1);
      break;
    case "right":
      next.x = Math.min(columns - one.w, one.x + 1);
      break;
    case "up": {
      const above = beside.filter((other) => other.y + other.h <= one.y).sort((a, b) => b.y - a.y)[0];
      if (!above) return places;
      next.y = above.y - 0.5;
      break;
    }
    case "down": {
      const below = beside.filter((other) => other.y >= one.y + one.h).sort((a, b) => a.y - b.y)[0];
      if (!below) return places;
      next.y = below.y + 0.5;
      break;
    }
    case "wider":
      next.w = Math.min(columns - one.x, one.w + 1);
      if (next.w === one.w && one.x > 0) {
        next.x = one.x - 1;
        next.w = one.w + 1;
      }
      break;
    case "narrower":
      next.w = Math.max(WIDTH_MIN[breakpoint], one.w - 1);
      break;
    case "taller":
      next.h = Math.min(HEIGHT_MAX, one.h + 1);
      break;
    case "shorter":
      next.h = Math.max(HEIGHT_MIN, one.h - 1);
      break;
  }
  if (next.x === one.x && next.y === one.y && next.w === one.w && next.h === one.h) return places;
  return pack([...others, next], columns, id);
}

/** Least size of a panel at a breakpoint. */
export function leastSize(breakpoint: Breakpoint): { minW: number; minH: number } {
  return { minW: WIDTH_MIN[breakpoint], minH: HEIGHT_MIN };
}
