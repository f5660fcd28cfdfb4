/** Services, their dependencies and what happened to them: requests this feature makes, in one place. */
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { type ApiError, client, requestJson, type Schemas, unwrap } from "@/api/client";
import { type Answer, useAnswer } from "@/api/query";
import { bucketOf, isRelative, type TimeRange } from "@/lib/time";
import { serviceIs } from "./line";

export type State = "CRITICAL" | "WARNING" | "NORMAL" | string;

/** What makes a state what it is. */
export interface Reason {
  /** `alert`, `error_rate` or `silent`. */
  kind: string;
  state: State;
  text: string;
  alert: string | null;
}

/** A service as `/api/v1/services` tells of it. */
export interface Service {
  service: string;
  state: State;
  /** The worst first; none when it is as expected. */
  why: Reason[];
  records: number;
  errors: number;
  error_rate: number | null;
  requests_per_second: number;
  p50_ms: number | null;
  p95_ms: number | null;
  p99_ms: number | null;
  hosts: string[];
  versions: string[];
  open_alerts: number;
  worst_severity: string | null;
  first_seen: string | null;
  last_seen: string | null;
}

export interface ServiceList {
  items: Service[];
  warnings?: string[];
}

export interface MapNode {
  service: string;
  state: State;
  records: number;
  errors: number;
  error_rate: number | null;
  p95_ms: number | null;
  open_alerts: number;
}

export interface MapEdge {
  source: string;
  target: string;
  requests: number;
  errors: number;
  p95_ms: number | null;
  /** Pearson's correlation of the errors a minute of both; null where there are too few. */
  error_correlation: number | null;
}

export interface ServiceMap {
  nodes: MapNode[];
  edges: MapEdge[];
  traces_read: number;
  sampled: boolean;
  warnings: string[];
}

export interface Annotation {
  id: string;
  at: string;
  until: string | null;
  kind: "deployment" | "incident" | "investigation";
  text: string;
  tags: string[];
  service: string | null;
  sharing: "team" | "public";
  by: string;
}

export type Incident = Schemas["Incident"];
export type Alert = Schemas["Alert"];

export interface Page<T> {
  items: T[];
  next?: string | null;
}

/** How often a range that moves with the clock is asked for again. */
export const REFRESH_MS = 15_000;

/** `REFRESH_MS` for a range that moves, never for one that stands. */
export function refreshOf(range: TimeRange): number | false {
  return isRelative(range) ? REFRESH_MS : false;
}

function query(values: Record<string, string | number | undefined>): string {
  const kept = Object.entries(values).filter(([, value]) => value !== undefined);
  return new URLSearchParams(kept.map(([key, value]) => [key, String(value)])).toString();
}

/** Every service with its figures in the range. */
export function useServices(range: TimeRange) {
  return useQuery<ServiceList, ApiError>({
    queryKey: ["services", range],
    queryFn: ({ signal }) => requestJson<ServiceList>(`/api/v1/services?${query({ ...range })}`, { signal }),
    refetchInterval: refreshOf(range),
    placeholderData: (before) => before,
  });
}

/** Who calls whom in the range, as traces tell. */
export function useServiceMap(range: TimeRange, enabled = true) {
  return useQuery<ServiceMap, ApiError>({
    queryKey: ["service-map", range],
    queryFn: ({ signal }) => requestJson<ServiceMap>(`/api/v1/services/map?${query({ ...range })}`, { signal }),
    enabled,
    refetchInterval: isRelative(range) ? 2 * REFRESH_MS : false,
    placeholderData: (before) => before,
  });
}

/** Deployments, incidents and investigations people have noted. */
export function useAnnotations(range: TimeRange, service?: string) {
  return useQuery<Annotation[], ApiError>({
    queryKey: ["annotations", range, service ?? null],
    queryFn: async ({ signal }) =>
      (await requestJson<Page<Annotation>>(`/api/v1/annotations?${query({ ...range, service })}`, { signal })).items,
    refetchInterval: isRelative(range) ? 4 * REFRESH_MS : false,
  });
}

/** Incidents that are not resolved, newest first; at most 100. */
export function useOpenIncidents(service?: string) {
  return useQuery<Page<Incident>, ApiError>({
    queryKey: ["incidents", "open", service ?? null],
    queryFn: ({ signal }) =>
      unwrap(
        client.GET("/api/v1/incidents", {
          params: { query: { status: "open,acknowledged", limit: 100, service } as never },
          signal,
        }),
      ) as Promise<Page<Incident>>,
    refetchInterval: REFRESH_MS,
  });
}

/** Incidents of a service, whatever became of them, newest first. */
export function useServiceIncidents(service: string) {
  return useQuery<Page<Incident>, ApiError>({
    queryKey: ["incidents", "service", service],
    queryFn: ({ signal }) =>
      requestJson<Page<Incident>>(`/api/v1/incidents?${query({ service, limit: 20 })}`, { signal }),
    refetchInterval: REFRESH_MS,
  });
}

/** Alerts by filters of the list, newest first unless `sort` says otherwise. */
export function useAlerts(filters: Record<string, string | number | undefined>, live?: unknown) {
  return useQuery<Page<Alert>, ApiError>({
    queryKey: ["alerts", "few", filters, live ?? null],
    queryFn: ({ signal }) => requestJson<Page<Alert>>(`/api/v1/alerts?${query(filters)}`, { signal }),
    refetchInterval: REFRESH_MS,
    placeholderData: (before) => before,
  });
}

export interface Signals {
  /** Records by level and bucket. */
  levels: ReturnType<typeof useAnswer>;
  latency: ReturnType<typeof useAnswer>;
  saturation: ReturnType<typeof useAnswer>;
  bucket: { span: string; ms: number };
}

/** The golden signals of a service, or of all: three questions the store answers from summaries where it can. */
export function useSignals(range: TimeRange, service?: string, buckets = 60): Signals {
  const bucket = useMemo(() => bucketOf(range, buckets), [range, buckets]);
  const of = service === undefined ? "*" : serviceIs(service);
  const refreshMs = refreshOf(range);
  const ask = (line: string) => ({ query: line, ...range, limit: 10_000 });
  return {
    levels: useAnswer(ask(`${of} | timechart ${bucket.span} count() by level`), { refreshMs }),
    latency: useAnswer(
      ask(
        `${of} duration_ms:* | timechart ${bucket.span} p50(duration_ms) as p50, p95(duration_ms) as p95, p99(duration_ms) as p99`,
      ),
      { refreshMs },
    ),
    saturation: useAnswer(
      ask(
        `dataset:metrics name:(cpu_usage OR memory_usage OR disk_usage)${service === undefined ? "" : ` ${of}`} | stats max(value) as percent by name, bin(${bucket.span})`,
      ),
      { refreshMs },
    ),
    bucket,
  };
}

/** Records and errors of every service by bucket: for lines as small as a word. */
export function useSparks(range: TimeRange, buckets = 24) {
  const bucket = useMemo(() => bucketOf(range, buckets), [range, buckets]);
  const refreshMs = refreshOf(range);
  const records = useAnswer(
    { query: `* | stats count() as n by service, bin(${bucket.span})`, ...range, limit: 50_000 },
    { refreshMs },
  );
  const errors = useAnswer(
    { query: `level>=error | stats count() as n by service, bin(${bucket.span})`, ...range, limit: 50_000 },
    { refreshMs },
  );
  return { records, errors, bucket };
}

export type { Answer };
