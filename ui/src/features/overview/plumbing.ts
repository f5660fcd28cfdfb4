/** How ingest fares, from the latest receipts. */
import type { Schemas } from "@/api/client";

export type Receipt = Schemas["Receipt"];

export interface Doors {
  receipts: number;
  accepted: number;
  rejected: number;
  repeated: number;
  /** Records by door, most first. */
  doors: [door: string, accepted: number][];
  /** The newest refusal: what, why, when. */
  refusal: { reason: string; field: string | null; time: string } | null;
}

export function doorsOf(receipts: readonly Receipt[]): Doors {
  const doors = new Map<string, number>();
  const all: Doors = { receipts: receipts.length, accepted: 0, rejected: 0, repeated: 0, doors: [], refusal: null };
  for (const receipt of receipts) {
    all.accepted += receipt.accepted;
    all.rejected += receipt.rejected_total;
    all.repeated += receipt.deduplicated;
    doors.set(receipt.door, (doors.get(receipt.door) ?? 0) + receipt.accepted);
    const why = receipt.rejected[0];
    if (why && (!all.refusal || receipt.time > all.refusal.time))
      all.refusal = { reason: why.reason, field: why.field ?? null, time: receipt.time };
  }
  all.doors = [...doors].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]));
  return all;
}

/** What `/api/v1/status` says of the store; absent parts are null. */
export interface StoreFacts {
  segments: number | null;
  rows: number | null;
  bytes: number | null;
  coldBytes: number | null;
  memoryRows: number | null;
  memoryBytes: number | null;
  templates: number | null;
  damaged: number;
}

export function storeFacts(store: Record<string, unknown>): StoreFacts {
  const number = (name: string): number | null => (typeof store[name] === "number" ? store[name] : null);
  return {
    segments: number("segments"),
    rows: number("segment_rows"),
    bytes: number("segment_bytes"),
    coldBytes: number("cold_bytes"),
    memoryRows: number("memtable_rows"),
    memoryBytes: number("memtable_bytes"),
    templates: number("templates"),
    damaged: Array.isArray(store.damaged) ? store.damaged.length : 0,
  };
}
