import { describe, expect, it } from "vitest";
import type { Answer } from "@/api/query";
import { NOISE } from "./dbscan";
import { clusterOf, describeClusters, pointsOf, type ScatterPoint } from "./scatter";

const answer = (columns: string[], ...rows: Answer["rows"]): Answer => ({
  columns: columns.map((name) => ({ name, type: "any" })),
  rows,
  stats: {},
});
const t = "2026-01-01T00:00:00.000000000Z";
const u = "2026-01-01T00:05:00.000000000Z";

describe("points", () => {
  it("join durations, records and errors by service and bucket", () => {
    const points = pointsOf(
      answer(["service", "timestamp", "p95"], ["a", t, 20], ["a", u, 40], ["b", t, 5], ["b", u, null], [null, t, 3]),
      answer(["service", "timestamp", "n"], ["a", t, 100], ["a", u, 50], ["b", t, 10]),
      answer(["service", "timestamp", "n"], ["a", u, 5]),
    );
    expect(points).toEqual([
      { service: "a", at: Date.parse(u), latency: 40, errorRate: 0.1, records: 50 },
      { service: "a", at: Date.parse(t), latency: 20, errorRate: 0, records: 100 },
      { service: "b", at: Date.parse(t), latency: 5, errorRate: 0, records: 10 },
    ]);
  });
});

describe("clusters of points", () => {
  const point = (service: string, at: number, latency: number, errorRate: number): ScatterPoint => ({
    service,
    at,
    latency,
    errorRate,
    records: 1,
  });
  const points = [
    ...Array.from({ length: 10 }, (_, index) => point("fast", index, 2 + index / 10, 0)),
    ...Array.from({ length: 6 }, (_, index) => point("slow", index, 900 + index, 0.01)),
    point("ill", 5, 40, 0.9),
  ];
  it("tell fast from slow and mark what is alone", () => {
    const clusters = describeClusters(points, clusterOf(points, 0.1, 3, false));
    expect(clusters.map(({ label, points: size, services }) => [label, size, services])).toEqual([
      [0, 10, [["fast", 10]]],
      [1, 6, [["slow", 6]]],
      [NOISE, 1, [["ill", 1]]],
    ]);
    expect(clusters[0]).toMatchObject({ from: 0, to: 9, medianLatency: 2.4, meanErrorRate: 0 });
  });
  it("fall apart by time where time counts", () => {
    const apart = [0, 1, 2, 97, 98, 99].map((at) => point("a", at, 10, 0));
    expect(clusterOf(apart, 0.1, 2, true)).toEqual([0, 0, 0, 1, 1, 1]);
    expect(new Set(clusterOf(apart, 0.1, 2, false))).toEqual(new Set([0]));
  });
});
