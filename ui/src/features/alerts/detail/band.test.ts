import { describe, expect, it } from "vitest";
import type { Answer, Cell } from "@/api/query";
import type { AlertDetail, Baseline } from "../model";
import {
  anomalies,
  bandOf,
  distance,
  pointsOf,
  questionOf,
  roundUp,
  seriesOf,
  unitOf,
  whereOf,
  windowOf,
} from "./band";

const NOW = Date.parse("2026-03-01T12:00:00Z");
const BASELINE: Baseline = { mean: 100, stddev: 10, samples: 300, threshold: 130, observed: 190 };

const alert = (changes: Partial<AlertDetail>): AlertDetail =>
  ({
    rule: "zscore.latency_ms",
    service: "PAYMENT-API",
    entity: { kind: "service", value: "PAYMENT-API" },
    features: [],
    baseline: BASELINE,
    first_seen: "2026-03-01T11:00:00Z",
    last_seen: "2026-03-01T11:10:00Z",
    ...changes,
  }) as AlertDetail;

const answer = (columns: string[], rows: Cell[][]): Answer => ({
  columns: columns.map((name) => ({ name, type: "float" })),
  rows,
  stats: {},
});

describe("the series of an alert", () => {
  it.each<[Partial<AlertDetail>, string, string]>([
    [{}, "metrics", "service:PAYMENT-API name:latency_ms"],
    [
      { rule: "threshold.cpu", entity: { kind: "host", value: "db-1.example" } },
      "metrics",
      'service:PAYMENT-API labels.host:"db-1.example" name:cpu_usage',
    ],
    [{ rule: "error_rate.service" }, "logs", "service:PAYMENT-API"],
    [
      { rule: "flood.source", entity: { kind: "source_ip", value: "203.0.113.5" } },
      "logs",
      'service:PAYMENT-API source_ip:"203.0.113.5"',
    ],
    [
      {
        rule: "ensemble.service",
        features: [
          { name: "memory_percent_weight", value: 0.7 },
          { name: "latency_mean_ms_weight", value: 0.2 },
        ],
      },
      "metrics",
      "service:PAYMENT-API name:memory_usage",
    ],
    [
      { rule: "auth.spray.source", service: null, entity: { kind: "source_ip", value: "::1" }, baseline: null },
      "logs",
      'source_ip:"::1"',
    ],
  ])("%o", (changes, dataset, where) => {
    const series = seriesOf(alert(changes));
    expect([series.dataset, series.where]).toEqual([dataset, where]);
  });

  it("asks for what it is about and nothing an alert's text could add", () => {
    expect(whereOf(alert({ service: 'a" OR *' }))).toBe('service:"a\\" OR *"');
    expect(whereOf(alert({ service: null, entity: { kind: "x) OR (y", value: "v" } }))).toBe("*");
  });

  it("looks at the time around it in buckets that fit", () => {
    const window = windowOf(alert({}), NOW);
    expect(window).toEqual({ from: Date.parse("2026-03-01T10:40:00Z"), to: Date.parse("2026-03-01T11:20:00Z") });
    const { question, bucketMs } = questionOf(seriesOf(alert({ rule: "error_rate.service" })), window);
    expect(bucketMs).toBe(30_000);
    expect(question.query).toBe("service:PAYMENT-API | stats count() as value by bin(30s), level | sort timestamp");
  });

  it("names units", () => {
    expect(["latency_ms", "cpu_usage", "error_rate", "requests_per_second", "queue_depth"].map(unitOf)).toEqual([
      "ms",
      "percent",
      "share",
      "per_second",
      "none",
    ]);
  });
});

describe("points", () => {
  const window = { from: 0, to: 50_000 };

  it("keeps gaps of measured values", () => {
    const series = seriesOf(alert({}));
    const found = answer(
      ["timestamp", "value", "high"],
      [
        ["1970-01-01T00:00:20Z", 5, 9],
        ["1970-01-01T00:00:10Z", 4, null],
        ["1970-01-01T00:00:40Z", null, null],
      ],
    );
    expect(pointsOf(found, series, 10_000, window)).toEqual([
      { at: 10_000, value: 4, high: undefined },
      { at: 20_000, value: 5, high: 9 },
    ]);
  });

  it("makes shares of errors", () => {
    const found = answer(
      ["timestamp", "level", "value"],
      [
        ["1970-01-01T00:00:10Z", "error", 1],
        ["1970-01-01T00:00:10Z", "info", 3],
      ],
    );
    expect(pointsOf(found, seriesOf(alert({ rule: "error_rate.service" })), 10_000, window)).toEqual([
      { at: 10_000, value: 0.25 },
    ]);
  });

  it("counts nothing as zero, a second", () => {
    const found = answer(["timestamp", "value"], [["1970-01-01T00:00:20Z", 50]]);
    const points = pointsOf(found, seriesOf(alert({ rule: "flood.volume" })), 10_000, window);
    expect(points.map((point) => point.value)).toEqual([0, 5, 0, 0]);
  });
});

describe("the band of the usual", () => {
  it("reaches as far as the threshold, and not below zero", () => {
    expect(bandOf(BASELINE)).toEqual({ mean: 100, low: 70, high: 130, threshold: 130, falls: false, isBound: false });
    expect(bandOf({ ...BASELINE, mean: 0.01, threshold: 0.25 }).low).toBe(0);
    expect(bandOf({ ...BASELINE, threshold: 60 })).toMatchObject({ low: 60, high: 140, falls: true });
  });

  it("marks what lies beyond", () => {
    const points = [
      { at: 1, value: 100 },
      { at: 2, value: 120, high: 150 },
      { at: 3, value: 140 },
      { at: 4, value: 50 },
    ];
    expect(anomalies(points, bandOf(BASELINE)).map((point) => point.at)).toEqual([2, 3]);
    expect(anomalies(points, bandOf({ ...BASELINE, threshold: 60 })).map((point) => point.at)).toEqual([4]);
  });

  it("ends the axis at a round number", () => {
    expect([0, 0.27, 84, 100, 526, 1.1e6].map(roundUp)).toEqual([1, 0.3, 100, 100, 600, 1.2e6]);
  });

  it("says how far in words", () => {
    expect(distance(BASELINE)).toBe("9.0 σ above the usual");
    expect(distance({ ...BASELINE, observed: 70 })).toBe("3.0 σ below the usual");
    expect(distance({ ...BASELINE, stddev: 0, mean: 0.01, observed: 0.25 })).toBe("25.0 times the usual");
    expect(distance({ ...BASELINE, stddev: 0, mean: 0 })).toBeNull();
  });
});
