/** Counts by time as a row of numbers, for sparklines. */
import { type Answer, columnIndex } from "@/api/query";

function slots(spanMs: number, from: number, to: number): { first: number; count: number } {
  const first = Math.floor(from / spanMs) * spanMs;
  return { first, count: Math.max(1, Math.ceil((to - first) / spanMs)) };
}

/** One count for each bucket of the time, 0 where there were none. */
export function trendOf(answer: Answer, spanMs: number, from: number, to: number): number[] {
  const { first, count } = slots(spanMs, from, to);
  const [time, records] = [columnIndex(answer, "timestamp"), columnIndex(answer, "count")];
  const trend = Array.from({ length: count }, () => 0);
  for (const row of answer.rows) {
    const slot = Math.floor((Date.parse(String(row[time])) - first) / spanMs);
    if (slot >= 0 && slot < count) trend[slot] = (trend[slot] ?? 0) + Number(row[records] ?? 0);
  }
  return trend;
}

/** The same for each value of a column, by its text. */
export function trendsOf(answer: Answer, by: string, spanMs: number, from: number, to: number): Map<string, number[]> {
  const at = columnIndex(answer, by);
  const groups = new Map<string, Answer["rows"]>();
  for (const row of answer.rows) {
    const key = String(row[at]);
    const rows = groups.get(key);
    if (rows) rows.push(row);
    else groups.set(key, [row]);
  }
  return new Map([...groups].map(([key, rows]) => [key, trendOf({ ...answer, rows }, spanMs, from, to)]));
}
