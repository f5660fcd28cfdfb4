/** How Heimdall itself fares: `/api/v1/status/self`. */
import { useQuery } from "@tanstack/react-query";
import { client, requestJson, type Schemas, unwrap } from "@/api/client";
import type { ApiError } from "@/api/problem";

export type Standing = "unknown" | "ok" | "warn" | "bad";

export interface Signal {
  value: number | null;
  target: number;
  state: Standing;
}

export interface BurnRate {
  window: string;
  rate: number | null;
  threshold: number;
  total: number;
  bad: number;
  state: Standing;
}

export interface Slo {
  id: string;
  name: string;
  description: string;
  objective: number;
  window: string;
  target_ms: number | null;
  total: number;
  bad: number;
  ratio: number | null;
  budget_remaining: number | null;
  measured_minutes: number;
  burn: BurnRate[];
  state: Standing;
  history: { at: string; ratio: number | null }[];
}

export interface Minute {
  at: string;
  measured: boolean;
  requests: number;
  errors: number;
  queries: number;
  records: number;
  p50_ms: number | null;
  p95_ms: number | null;
  p99_ms: number | null;
  cpu: number | null;
  memory: number | null;
  disk: number | null;
}

export interface SelfStatus {
  time: string;
  state: Standing;
  latency: { p50_ms: Signal; p95_ms: Signal; p99_ms: Signal; queries: number };
  traffic: { queries_per_second: number; records_per_second: number; requests_per_second: number };
  errors: { rate: Signal; requests: number; errors: number };
  saturation: { cpu: Signal; memory: Signal; disk: Signal; cpu_own: number | null; memory_own: number | null };
  slos: Slo[];
  history: Minute[];
}

export const useSelfStatus = () =>
  useQuery<SelfStatus, ApiError>({
    queryKey: ["status", "self"],
    queryFn: ({ signal }) => requestJson<SelfStatus>("/api/v1/status/self", { signal }),
    refetchInterval: 10_000,
  });

/** The store, as `/api/v1/status` tells it. */
export interface StoreStatus {
  segments: number;
  segment_rows: number;
  segment_bytes: number;
  cold_trouble: string | null;
  damaged: unknown[];
  memtable_rows: number;
  memtable_bytes: number;
}

export type ServerStatus = Omit<Schemas["StatusDocument"], "store"> & { store: StoreStatus };

export const useServerStatus = () =>
  useQuery({
    queryKey: ["status"],
    queryFn: async ({ signal }) => (await unwrap(client.GET("/api/v1/status", { signal }))) as ServerStatus,
    refetchInterval: 10_000,
  });

/** Word and tone of a standing. */
export function standingLook(state: Standing): { text: string; tone: "ok" | "warning" | "critical" | "quiet" } {
  switch (state) {
    case "ok":
      return { text: "within its target", tone: "ok" };
    case "warn":
      return { text: "near its target", tone: "warning" };
    case "bad":
      return { text: "beyond its target", tone: "critical" };
    default:
      return { text: "nothing measured yet", tone: "quiet" };
  }
}
