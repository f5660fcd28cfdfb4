/** What the chart of an alert shows: which series, over which time, with which band of the usual. Pure. */
import type { Answer, QueryRequest } from "@/api/query";
import type { Unit } from "@/lib/format";
import { bucketOf, type TimeRange, toRfc3339 } from "@/lib/time";
import type { AlertDetail, Baseline } from "../model";

export interface DataQuery extends QueryRequest {
  dataset?: "logs" | "metrics";
}

export interface Series {
  /** What is drawn, in words. */
  title: string;
  unit: Unit;
  dataset: "logs" | "metrics";
  /** Conditions of the search line. */
  where: string;
  /** What is computed for each bucket; its column is `value`. */
  stat: string;
  /** `share`: of all records, those that are errors; `rate`: records a second. */
  as: "value" | "rate" | "share" | "count";
  /** Whether the baseline is of this very series. */
  hasBand: boolean;
}

const METRICS: Record<string, { name: string; title: string; unit: Unit }> = {
  cpu: { name: "cpu_usage", title: "CPU use", unit: "percent" },
  memory: { name: "memory_usage", title: "Memory use", unit: "percent" },
  disk: { name: "disk_usage", title: "Disk use", unit: "percent" },
};

/** A value as the search line takes it. */
export function quoted(value: string): string {
  return /^[\w-]+$/.test(value) ? value : `"${value.replace(/[\\"]/g, "\\$&")}"`;
}

/** Conditions that find the records of what the alert is about. */
export function whereOf(alert: AlertDetail, dataset: "logs" | "metrics" = "logs"): string {
  const { kind, value } = alert.entity;
  const parts = alert.service ? [`service:${quoted(alert.service)}`] : [];
  if (kind !== "service" && /^[a-z_][\w.]*$/i.test(kind))
    parts.push(`${dataset === "metrics" ? "labels." : ""}${kind}:${quoted(value)}`);
  return parts.join(" ") || "*";
}

/** The number the learnt models found furthest off. */
function leading(alert: AlertDetail): string | null {
  let best: { name: string; weight: number } | null = null;
  for (const { name, value } of alert.features)
    if (name.endsWith("_weight") && (!best || value > best.weight)) best = { name: name.slice(0, -7), weight: value };
  return best?.name ?? null;
}

/** The series behind an alert; for findings without a baseline, how many records there are about its entity. */
export function seriesOf(alert: AlertDetail): Series {
  const hasBand = alert.baseline !== null;
  const [family = "", metric = ""] = [alert.rule.split(".")[0], alert.rule.slice(alert.rule.indexOf(".") + 1)];
  const service = alert.service ? `service:${quoted(alert.service)}` : "";
  const about = alert.service ?? alert.entity.value;
  const measured = (name: string, title: string, unit: Unit): Series => ({
    title: `${title} of ${alert.entity.kind === "host" ? alert.entity.value : about}`,
    unit,
    dataset: "metrics",
    where: `${whereOf(alert, "metrics")} name:${quoted(name)}`,
    stat: "avg(value) as value, max(value) as high",
    as: "value",
    hasBand,
  });
  if (family === "zscore" || family === "baseline") return measured(metric, metric, unitOf(metric));
  if (family === "threshold") {
    const known = METRICS[metric];
    if (known) return measured(known.name, known.title, known.unit);
  }
  const counted = (as: "rate" | "count" | "share", title: string, where: string, band: boolean): Series => ({
    title,
    unit: as === "rate" ? "per_second" : as === "share" ? "share" : "none",
    dataset: "logs",
    where,
    stat: "count() as value",
    as,
    hasBand: band,
  });
  if (family === "error_rate")
    return counted("share", `Share of errors among the records of ${about}`, service, hasBand);
  if (family === "flood")
    return counted("rate", `Records a second of ${about}`, whereOf(alert), hasBand && metric === "volume");
  if (family === "ensemble") {
    const name = leading(alert) ?? "";
    if (name === "latency_mean_ms" || name === "latency_p95_ms") {
      const mean = name === "latency_mean_ms";
      return {
        title: `${mean ? "Mean latency" : "Latency, 95th percentile,"} of ${about}`,
        unit: "ms",
        dataset: "logs",
        where: service,
        stat: mean ? "avg(duration_ms) as value" : "p95(duration_ms) as value",
        as: "value",
        hasBand,
      };
    }
    const known = METRICS[name.replace(/_percent$/, "")];
    if (known) return measured(known.name, known.title, known.unit);
    if (name.startsWith("error"))
      return counted("share", `Share of errors among the records of ${about}`, service, hasBand);
    return counted("rate", `Records a second of ${about}`, service, false);
  }
  return counted("count", `Records about ${alert.entity.value}`, whereOf(alert), false);
}

/** Unit of a metric by its name. */
export function unitOf(name: string): Unit {
  if (/_ms$|latency/.test(name)) return "ms";
  if (/_bytes$|bytes_/.test(name)) return "bytes";
  if (/per_second$|_rps$/.test(name)) return "per_second";
  if (/^error_rate$|_share$/.test(name)) return "share";
  if (/(cpu|memory|disk)_(usage|percent)|_percent$/.test(name)) return "percent";
  if (/_seconds$/.test(name)) return "seconds";
  return "none";
}

const BEFORE_MIN_MS = 20 * 60_000;
const AFTER_MS = 10 * 60_000;
const LONGEST_MS = 7 * 86_400_000;

/** The time around an alert: enough before it to see the usual, and what came after. */
export function windowOf(
  alert: Pick<AlertDetail, "first_seen" | "last_seen">,
  now: number,
): { from: number; to: number } {
  const first = Date.parse(alert.first_seen);
  const last = Date.parse(alert.last_seen);
  const to = Math.min(now, last + AFTER_MS);
  const before = Math.max(BEFORE_MIN_MS, (last - first) * 0.6);
  return { from: Math.max(first - before, to - LONGEST_MS), to: Math.max(to, first + 60_000) };
}

/** The question to the store and the width of its buckets. */
export function questionOf(
  series: Series,
  window: { from: number; to: number },
): { question: DataQuery; bucketMs: number } {
  const range: TimeRange = { from: toRfc3339(window.from), to: toRfc3339(window.to) };
  const { span, ms } = bucketOf(range, 120);
  const by = series.as === "share" ? `bin(${span}), level` : `bin(${span})`;
  return {
    question: {
      query: `${series.where} | stats ${series.stat} by ${by} | sort timestamp`,
      dataset: series.dataset,
      limit: 2000,
      ...range,
    },
    bucketMs: ms,
  };
}

export interface Point {
  at: number;
  value: number;
  /** Largest single value of the bucket, where the value is a mean. */
  high?: number;
}

/** Points of an answer, in order. Buckets without records are gaps, but zero where records are counted. */
export function pointsOf(
  answer: Answer,
  series: Series,
  bucketMs: number,
  window: { from: number; to: number },
): Point[] {
  const column = (name: string): number => answer.columns.findIndex((each) => each.name === name);
  const [time, value, high, level] = ["timestamp", "value", "high", "level"].map(column) as [
    number,
    number,
    number,
    number,
  ];
  if (time < 0 || value < 0) return [];
  const found = new Map<number, { total: number; bad: number; high?: number }>();
  for (const row of answer.rows) {
    const at = Date.parse(String(row[time]));
    const amount = Number(row[value]);
    if (row[value] === null || !Number.isFinite(amount) || Number.isNaN(at)) continue;
    const entry = found.get(at) ?? { total: 0, bad: 0 };
    entry.total += amount;
    if (level >= 0 && (row[level] === "error" || row[level] === "fatal")) entry.bad += amount;
    if (high >= 0 && row[high] !== null) entry.high = Number(row[high]);
    found.set(at, entry);
  }
  const times = [...found.keys()].sort((a, b) => a - b);
  if (series.as === "value")
    return times.map((at) => ({ at, value: found.get(at)?.total ?? 0, high: found.get(at)?.high }));
  if (series.as === "share")
    return times.map((at) => {
      const entry = found.get(at);
      return { at, value: entry && entry.total > 0 ? entry.bad / entry.total : 0 };
    });
  if (times.length === 0) return [];
  const points: Point[] = [];
  const start = Math.floor(window.from / bucketMs) * bucketMs;
  for (let at = start; at <= window.to; at += bucketMs) {
    const total = found.get(at)?.total ?? 0;
    points.push({ at, value: series.as === "rate" ? total / (bucketMs / 1000) : total });
  }
  // The first and the last bucket hold part of their time only: their counts would look like a fall.
  return points.length > 3 ? points.slice(1, -1) : points;
}

export interface Band {
  mean: number;
  low: number;
  high: number;
  /** Beyond it a value is an anomaly. */
  threshold: number;
  /** Whether anomalies lie below. */
  falls: boolean;
  /** Whether it is a bound somebody chose: nothing is said of the usual. */
  isBound: boolean;
}

/** The band of the usual: as far from the mean on either side as the threshold is. */
export function bandOf(baseline: Baseline): Band {
  const reach = Math.abs(baseline.threshold - baseline.mean);
  const falls = baseline.threshold < baseline.mean;
  const low = baseline.mean - reach;
  return {
    mean: baseline.mean,
    // What cannot be negative is not drawn so.
    low: baseline.mean >= 0 ? Math.max(0, low) : low,
    high: baseline.mean + reach,
    threshold: baseline.threshold,
    falls,
    isBound: isBound(baseline),
  };
}

/** Whether the threshold was chosen by somebody instead of following from the past. */
export function isBound(baseline: Baseline): boolean {
  return baseline.mean === baseline.threshold;
}

/** Points beyond the threshold. */
export function anomalies(points: readonly Point[], band: Band): Point[] {
  return points.filter((point) =>
    band.falls ? point.value < band.threshold : (point.high ?? point.value) > band.threshold,
  );
}

/** How far the observed value lies from the usual, in words that need no statistics. */
export function distance(baseline: Baseline): string | null {
  if (baseline.stddev > 0) {
    const sigmas = (baseline.observed - baseline.mean) / baseline.stddev;
    return `${Math.abs(sigmas).toFixed(1)} σ ${sigmas >= 0 ? "above" : "below"} the usual`;
  }
  if (baseline.mean > 0 && baseline.observed > baseline.mean)
    return `${(baseline.observed / baseline.mean).toFixed(1)} times the usual`;
  return null;
}

/** End of an axis that holds a value: a round number not far above it. */
export function roundUp(value: number): number {
  if (!(value > 0)) return 1;
  const size = 10 ** Math.floor(Math.log10(value));
  const step = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].find((each) => each * size >= value) ?? 10;
  return Number((step * size).toPrecision(6));
}
