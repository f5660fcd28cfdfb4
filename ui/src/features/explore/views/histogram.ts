/** Buckets of the histogram: counts by time and level. */
import { type Answer, columnIndex } from "@/api/query";

export const LEVELS = ["fatal", "error", "warn", "info", "debug", "trace"] as const;
/** What records without a level are counted as. */
export const NO_LEVEL = "none";

export interface Bucket {
  at: number;
  counts: Record<string, number>;
  total: number;
}

/** Buckets in the order of time; those without records are not among them. */
export function bucketsOf(answer: Answer): Bucket[] {
  const [time, level, count] = ["timestamp", "level", "count"].map((name) => columnIndex(answer, name)) as [
    number,
    number,
    number,
  ];
  const found = new Map<number, Bucket>();
  for (const row of answer.rows) {
    const at = Date.parse(String(row[time]));
    const bucket = found.get(at) ?? { at, counts: {}, total: 0 };
    const name = row[level] === null || row[level] === undefined ? NO_LEVEL : String(row[level]);
    const records = Number(row[count] ?? 0);
    bucket.counts[name] = (bucket.counts[name] ?? 0) + records;
    bucket.total += records;
    found.set(at, bucket);
  }
  return [...found.values()].sort((a, b) => a.at - b.at);
}

/** Counts by level over all buckets, worst level first. */
export function totalsOf(buckets: readonly Bucket[]): { level: string; count: number }[] {
  const sums: Record<string, number> = {};
  for (const bucket of buckets)
    for (const [level, count] of Object.entries(bucket.counts)) sums[level] = (sums[level] ?? 0) + count;
  return [...LEVELS, NO_LEVEL].filter((level) => sums[level]).map((level) => ({ level, count: sums[level] ?? 0 }));
}

/** A round number at or above the greatest bucket, for the axis. */
export function roundUp(value: number): number {
  if (value <= 5) return Math.max(1, value);
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= value) ?? 10;
  return step * power;
}

/** Times for the marks of the axis: at most `count`, at round distances. */
export function ticksOf(from: number, to: number, count: number): number[] {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400]
    .map((seconds) => seconds * 1000)
    .concat([2, 7, 14, 30, 90].map((days) => days * 86_400_000));
  const step = steps.find((one) => (to - from) / one <= count) ?? 90 * 86_400_000;
  const ticks: number[] = [];
  for (let at = Math.ceil(from / step) * step; at < to; at += step) ticks.push(at);
  return ticks;
}
