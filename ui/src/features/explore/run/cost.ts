/** What a question would cost, from the server's plan. */
import type { Compiled } from "@/api/query";

/** The parts of an explained plan that tell. */
export interface Plan {
  strategy?: string;
  ways?: { strategy: string; cost_ms: number; rows: number; bytes: number; chosen: boolean }[];
  rows_estimate?: number;
  bytes_estimate?: number;
  compiled?: Compiled;
  /** The line as it was understood. */
  query?: string;
}

export interface Cost {
  rows: number;
  bytes: number;
  ms: number;
}

/** Bytes read in a millisecond where the plan names no time: a cautious guess for one machine with a cold cache. */
const BYTES_PER_MS = 200_000;
/** Rows looked at in a millisecond, likewise. */
const ROWS_PER_MS = 5_000;

export function costOf(plan: Plan): Cost {
  const way = plan.ways?.find((one) => one.chosen);
  const rows = Math.max(way?.rows ?? 0, plan.rows_estimate ?? 0);
  const bytes = Math.max(way?.bytes ?? 0, plan.bytes_estimate ?? 0);
  return { rows, bytes, ms: way?.cost_ms ?? Math.max(bytes / BYTES_PER_MS, rows / ROWS_PER_MS) };
}

/** Ranges from which on a question is explained before it is asked; shorter ones are cheap. */
export const WIDE_RANGE_MS = 6 * 3_600_000;
