/** How Heimdall itself fares: `/api/v1/status/self`. */
import { useQuery } from "@tanstack/react-query";
import { client, type Schemas, unwrap } from "@/api/client";

export type Standing = Schemas["Standing"];
export type Signal = Schemas["Signal"];
export type Slo = Schemas["SloView"];
export type Minute = Schemas["SelfPoint"];
export type SelfStatus = Schemas["SelfStatus"];

export const useSelfStatus = () =>
  useQuery({
    queryKey: ["status", "self"],
    queryFn: ({ signal }) => unwrap(client.GET("/api/v1/status/self", { signal })),
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
