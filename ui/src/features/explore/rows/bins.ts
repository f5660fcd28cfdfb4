/** Counts of records by time, and the blocks of rows made from them: what lets a list jump anywhere in a million rows. */
import type { Answer } from "@/api/query";
import { columnIndex } from "@/api/query";

/** Records in a span of time, `[from, to)` in milliseconds. */
export interface Bin {
  from: number;
  to: number;
  count: number;
}

export type Order = "newest" | "oldest";

/** Rows a block aims at, and the most it is loaded with at once. */
export const BLOCK_ROWS = 400;
export const BLOCK_ROWS_MAX = 1_600;

/** Spans a bucket can have, as the search line writes them. */
const LADDER: [string, number][] = [
  ["1ms", 1],
  ["5ms", 5],
  ["20ms", 20],
  ["100ms", 100],
  ["500ms", 500],
  ["1s", 1_000],
  ["5s", 5_000],
  ["10s", 10_000],
  ["30s", 30_000],
  ["1m", 60_000],
  ["5m", 300_000],
  ["10m", 600_000],
  ["30m", 1_800_000],
  ["1h", 3_600_000],
  ["3h", 10_800_000],
  ["6h", 21_600_000],
  ["12h", 43_200_000],
  ["1d", 86_400_000],
  ["7d", 604_800_000],
  ["30d", 2_592_000_000],
];

/** The narrowest span that makes at most `buckets` of a time. */
export function spanFor(from: number, to: number, buckets: number): { span: string; ms: number } {
  const wanted = (to - from) / buckets;
  const [span, ms] = LADDER.find(([, step]) => step >= wanted) ?? ["30d", 2_592_000_000];
  return { span, ms };
}

/** Bins of a `timechart`, series added up, in the order of time, cut at the ends of the range. */
export function binsOf(answer: Answer, spanMs: number, from: number, to: number): Bin[] {
  const time = columnIndex(answer, "timestamp");
  const count = columnIndex(answer, "count");
  const sums = new Map<number, number>();
  for (const row of answer.rows) {
    const at = Date.parse(String(row[time]));
    sums.set(at, (sums.get(at) ?? 0) + Number(row[count] ?? 0));
  }
  return [...sums]
    .sort(([a], [b]) => a - b)
    .map(([at, records]) => ({ from: Math.max(at, from), to: Math.min(at + spanMs, to), count: records }))
    .filter((bin) => bin.count > 0 && bin.to > bin.from);
}

/** Bins put together until each block has enough rows, in the order of the list. A bin of too many stays alone: it is
 * counted more finely before it is loaded. */
export function blocksOf(bins: readonly Bin[], order: Order): Bin[] {
  const blocks: Bin[] = [];
  let open: Bin | null = null;
  for (const bin of bins) {
    if (open && open.count + bin.count <= BLOCK_ROWS)
      open = { from: open.from, to: bin.to, count: open.count + bin.count };
    else {
      if (open) blocks.push(open);
      open = bin;
    }
  }
  if (open) blocks.push(open);
  return order === "newest" ? blocks.reverse() : blocks;
}
