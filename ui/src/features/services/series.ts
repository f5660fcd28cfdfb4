/** Answers turned into series: by name, on a common grid of buckets, with gaps where nothing was. */
import { type Answer, columnIndex } from "@/api/query";

export type Point = [at: number, value: number | null];

/** Milliseconds of an RFC 3339 time. */
export function at(cell: unknown): number {
  return typeof cell === "string" ? Date.parse(cell) : Number.NaN;
}

/** A cell as a number; 0 for what is none. */
export function num(cell: unknown): number {
  const value = typeof cell === "number" ? cell : Number(cell ?? 0);
  return Number.isFinite(value) ? value : 0;
}

/** Starts of all buckets that touch `[from, to]`, in milliseconds; at most 2,000. */
export function grid(from: number, to: number, step: number): number[] {
  const first = Math.floor(from / step) * step;
  const count = Math.min(2000, Math.max(0, Math.floor((to - first) / step) + 1));
  return Array.from({ length: count }, (_, index) => first + index * step);
}

/** Buckets that lie in `[from, to]` whole: one cut off would look like a fall. All of them where fewer than two do. */
export function wholeBuckets(from: number, to: number, step: number): number[] {
  const starts = grid(from, to, step);
  const whole = starts.filter((start) => start >= from && start + step <= to);
  return whole.length >= 2 ? whole : starts;
}

/** Values of each name by bucket, from rows of name, time and value. Absent buckets are 0. */
export function byName(
  answer: Answer,
  columns: { name: string; time: string; value: string },
  starts: number[],
): Map<string, number[]> {
  const [name, time, value] = [columns.name, columns.time, columns.value].map((column) => columnIndex(answer, column));
  const place = new Map(starts.map((start, index) => [start, index]));
  const found = new Map<string, number[]>();
  if (name === undefined || time === undefined || value === undefined || name < 0 || time < 0 || value < 0)
    return found;
  for (const row of answer.rows) {
    const key = row[name];
    const index = place.get(at(row[time]));
    if (typeof key !== "string" || index === undefined) continue;
    let values = found.get(key);
    if (!values) {
      values = starts.map(() => 0);
      found.set(key, values);
    }
    values[index] = (values[index] ?? 0) + num(row[value]);
  }
  return found;
}

const WRONG = new Set(["error", "fatal"]);

/** Traffic and errors from records by level and bucket: records a second, and the share of errors, of each bucket. */
export function trafficOf(
  answer: Answer,
  starts: number[],
  stepMs: number,
): { total: number; errors: number; perSecond: Point[]; share: Point[] } {
  const levels = byName(answer, { name: "level", time: "timestamp", value: "count" }, starts);
  let total = 0;
  let errors = 0;
  const perSecond: Point[] = [];
  const share: Point[] = [];
  starts.forEach((start, index) => {
    let all = 0;
    let bad = 0;
    for (const [level, values] of levels) {
      const value = values[index] ?? 0;
      all += value;
      if (WRONG.has(level)) bad += value;
    }
    total += all;
    errors += bad;
    perSecond.push([start, (all / stepMs) * 1000]);
    share.push([start, all > 0 ? bad / all : null]);
  });
  return { total, errors, perSecond, share };
}

/** Columns of numbers over time, as series by column name; absent buckets are gaps. */
export function columnsOverTime(answer: Answer, names: string[], starts: number[]): Map<string, Point[]> {
  const time = columnIndex(answer, "timestamp");
  const rows = new Map(answer.rows.map((row) => [at(row[time]), row]));
  return new Map(
    names.map((name) => {
      const index = columnIndex(answer, name);
      return [
        name,
        starts.map((start): Point => {
          const cell = rows.get(start)?.[index];
          return [start, typeof cell === "number" ? cell : null];
        }),
      ];
    }),
  );
}

/** Rows of name, time and value as series by name; absent buckets are gaps. */
export function namesOverTime(answer: Answer, value: string, starts: number[]): Map<string, Point[]> {
  const [name, time, number] = ["name", "timestamp", value].map((column) => columnIndex(answer, column));
  const found = new Map<string, Map<number, number>>();
  if (name === undefined || time === undefined || number === undefined) return new Map();
  for (const row of answer.rows) {
    const key = row[name];
    const cell = row[number];
    if (typeof key !== "string" || typeof cell !== "number") continue;
    const values = found.get(key) ?? new Map<number, number>();
    values.set(at(row[time]), cell);
    found.set(key, values);
  }
  return new Map(
    [...found].map(([key, values]) => [key, starts.map((start): Point => [start, values.get(start) ?? null])]),
  );
}

/** The last value that is there. */
export function latest(points: Point[]): number | null {
  for (let index = points.length - 1; index >= 0; index -= 1) {
    const value = points[index]?.[1];
    if (value !== null && value !== undefined) return value;
  }
  return null;
}
