import { expect, it } from "vitest";
import type { AlertDetail } from "../model";
import { featureRows, howBad, howFound, words } from "./explain";

const alert = (changes: Partial<AlertDetail>): AlertDetail =>
  ({
    rule: "zscore.latency_ms",
    detector: "zscore",
    count: 3,
    first_seen: "2026-03-01T11:00:00Z",
    last_seen: "2026-03-01T11:10:00Z",
    features: [],
    baseline: { mean: 100, stddev: 10, samples: 300, threshold: 130, observed: 190 },
    ...changes,
  }) as AlertDetail;

it("says how bad, in units", () => {
  expect(howBad(alert({}))).toEqual([
    "Seen 190 ms, usual 100 ms: 9.0 σ above the usual. It counts from 130 ms on, by 300 samples of the past.",
    "Found 3 times over 10m.",
  ]);
  expect(howBad(alert({ baseline: null, count: 1 }))).toEqual([]);
  const bound = { mean: 98, stddev: 0, samples: 3, threshold: 98, observed: 99.2 };
  expect(howBad(alert({ rule: "threshold.cpu", detector: "threshold", count: 1, baseline: bound }))).toEqual([
    "Seen 99.2 %; the bound is 98 %.",
  ]);
  const share = { mean: 0.009, stddev: 0, samples: 373, threshold: 0.25, observed: 0.255 };
  expect(howBad(alert({ detector: "error-rate", rule: "error_rate.service", count: 1, baseline: share }))[0]).toContain(
    "Seen 25.5 %, usual 0.9 %: 28.3 times the usual",
  );
});

it("says how it was found, of unknown detectors too", () => {
  expect(howFound(alert({}))).toContain("deviation");
  expect(howFound(alert({ detector: "mine" }))).toBe("The detector mine found it.");
});

it("puts a number, its usual and its weight into one line, the weightiest first", () => {
  const rows = featureRows([
    { name: "model_version", value: 1 },
    { name: "latency_p95_ms", value: 838.4 },
    { name: "latency_p95_ms_usual", value: 265.2 },
    { name: "latency_p95_ms_weight", value: 0.29 },
  ]);
  expect(rows).toEqual([
    { label: "Latency p95", value: "838 ms", usual: "265 ms", weight: 0.29 },
    { label: "Model version", value: "1" },
  ]);
  expect(words("distinct_users")).toBe("Distinct users");
});
