import { describe, expect, it } from "vitest";
import { dbscan, NOISE, normalise } from "./dbscan";

/** Numbers 0..1 that are the same in every run. */
function chance(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 4_294_967_296;
    return state / 4_294_967_296;
  };
}

function blob(x: number, y: number, z: number, count: number, seed: number): number[][] {
  const next = chance(seed);
  return Array.from({ length: count }, () => [x + next() * 0.05, y + next() * 0.05, z + next() * 0.05]);
}

/** What DBSCAN is by definition: quadratic, without cells. */
function naiveCores(points: number[][], eps: number, minPts: number): boolean[] {
  const near = (a: number[], b: number[]): boolean =>
    Math.hypot(...a.map((value, axis) => value - (b[axis] ?? 0))) <= eps;
  return points.map((point) => points.filter((other) => near(point, other)).length >= minPts);
}

describe("dbscan", () => {
  it("finds dense places and marks what is alone", () => {
    const points = [...blob(0.1, 0.1, 0.1, 30, 1), ...blob(0.8, 0.7, 0.9, 20, 2), [0.5, 0.1, 0.9]];
    const labels = dbscan(points, 0.1, 4);
    expect(new Set(labels.slice(0, 30))).toEqual(new Set([0]));
    expect(new Set(labels.slice(30, 50))).toEqual(new Set([1]));
    expect(labels[50]).toBe(NOISE);
  });
  it("counts clusters by size, whatever the order of points", () => {
    const points = [...blob(0.8, 0.8, 0.8, 5, 3), ...blob(0.1, 0.1, 0.1, 9, 4)];
    const labels = dbscan(points, 0.1, 3);
    expect(labels[0]).toBe(1);
    expect(labels[5]).toBe(0);
  });
  it("follows a chain of cores and takes points at its border", () => {
    const chain = Array.from({ length: 20 }, (_, index) => [index * 0.05, 0]);
    expect(new Set(dbscan(chain, 0.051, 3))).toEqual(new Set([0]));
    expect(new Set(dbscan(chain, 0.04, 3))).toEqual(new Set([NOISE]));
  });
  it("never leaves a core as noise and never joins two points that no core connects", () => {
    const next = chance(7);
    const points = Array.from({ length: 300 }, () => [next(), next(), next()]);
    for (const [eps, minPts] of [
      [0.08, 3],
      [0.15, 5],
      [0.3, 10],
    ] as const) {
      const labels = dbscan(points, eps, minPts);
      const cores = naiveCores(points, eps, minPts);
      points.forEach((point, a) => {
        if (!cores[a]) return;
        expect(labels[a]).not.toBe(NOISE);
        points.forEach((other, b) => {
          if (Math.hypot(...point.map((value, axis) => value - (other[axis] ?? 0))) > eps) return;
          expect(labels[b]).not.toBe(NOISE);
          if (cores[b]) expect(labels[b]).toBe(labels[a]);
        });
      });
    }
  });
  it("has nothing to say of nothing", () => expect(dbscan([], 0.1, 3)).toEqual([]));
});

describe("normalise", () => {
  it("scales each axis for itself", () => {
    expect(
      normalise([
        [0, 100],
        [5, 300],
        [10, 200],
      ]),
    ).toEqual([
      [0, 0],
      [0.5, 1],
      [1, 0.5],
    ]);
  });
  it("gives an axis without extent no weight", () => {
    expect(
      normalise([
        [7, 1],
        [7, 2],
      ]),
    ).toEqual([
      [0, 0],
      [0, 1],
    ]);
  });
});
