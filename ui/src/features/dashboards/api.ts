/** Dashboards and annotations of the server: lists, single ones, changes. */
import { type QueryClient, useQuery } from "@tanstack/react-query";
import { requestJson } from "@/api/client";
import type { ApiError } from "@/api/problem";
import type { TimeRange } from "@/lib/time";
import type { AnnotationKind, Dashboard, DashboardContent, DashboardSummary } from "./spec";

const DASHBOARDS = "/api/v1/dashboards";
const ANNOTATIONS = "/api/v1/annotations";

interface Page<T> {
  items: T[];
  next: string | null;
}

/** Every dashboard there is, without their specs. The server keeps at most a thousand. */
export function useDashboards() {
  return useQuery<DashboardSummary[], ApiError>({
    queryKey: ["dashboards"],
    queryFn: async ({ signal }) => {
      const found: DashboardSummary[] = [];
      let cursor: string | null = null;
      do {
        const next: string = cursor ? `&cursor=${encodeURIComponent(cursor)}` : "";
        const page: Page<DashboardSummary> = await requestJson(`${DASHBOARDS}?limit=1000${next}`, { signal });
        found.push(...page.items);
        cursor = page.next;
      } while (cursor && found.length < 5000);
      return found;
    },
  });
}

export function useDashboard(id: string) {
  return useQuery<Dashboard, ApiError>({
    queryKey: ["dashboard", id],
    queryFn: ({ signal }) => fetchDashboard(id, signal),
    staleTime: 30_000,
    // A change of somebody else must not change what is being edited: it is found when it is saved.
    refetchOnWindowFocus: false,
  });
}

export function fetchDashboard(id: string, signal?: AbortSignal): Promise<Dashboard> {
  return requestJson<Dashboard>(`${DASHBOARDS}/${encodeURIComponent(id)}`, { signal });
}

/** Only what the server takes, in its words. */
function body({ title, description, tags, folder, spec }: DashboardContent): DashboardContent {
  return { title: title.trim(), description, tags, folder, spec };
}

export function addDashboard(content: DashboardContent): Promise<Dashboard> {
  return requestJson<Dashboard>(DASHBOARDS, { method: "POST", json: body(content) });
}

export function replaceDashboard(id: string, revision: number, content: DashboardContent): Promise<Dashboard> {
  return requestJson<Dashboard>(`${DASHBOARDS}/${encodeURIComponent(id)}`, {
    method: "PUT",
    json: { ...body(content), revision },
  });
}

export function deleteDashboard(id: string): Promise<void> {
  return requestJson<void>(`${DASHBOARDS}/${encodeURIComponent(id)}`, { method: "DELETE" });
}

/** Puts what the server answered in the place of what was known. */
export function remember(queries: QueryClient, dashboard: Dashboard): void {
  queries.setQueryData(["dashboard", dashboard.id], dashboard);
  void queries.invalidateQueries({ queryKey: ["dashboards"] });
}

/** Something that happened, as people noted it. */
export interface Annotation {
  id: string;
  at: string;
  until: string | null;
  kind: AnnotationKind;
  text: string;
  tags: string[];
  service: string | null;
  sharing: "team" | "public";
  /** False for one of another tenant, which can be read only. */
  own?: boolean;
  by: string;
  revision?: number;
}

export type AnnotationContent = Pick<Annotation, "at" | "until" | "kind" | "text" | "tags" | "service" | "sharing">;

/** Annotations shown at once. */
export const ANNOTATIONS_MAX = 200;

export function useAnnotations(range: TimeRange, kinds: AnnotationKind[], refreshMs: number | false) {
  const names = [...kinds].sort().join();
  return useQuery<Annotation[], ApiError>({
    queryKey: ["annotations", range, names],
    queryFn: async ({ signal }) => {
      const params = new URLSearchParams({ ...range, kind: names, limit: String(ANNOTATIONS_MAX) });
      return (await requestJson<Page<Annotation>>(`${ANNOTATIONS}?${params}`, { signal })).items;
    },
    enabled: kinds.length > 0,
    refetchInterval: refreshMs,
    placeholderData: (before) => before,
  });
}

export function addAnnotation(content: AnnotationContent): Promise<Annotation> {
  return requestJson<Annotation>(ANNOTATIONS, { method: "POST", json: content });
}

export function replaceAnnotation(of: Annotation, content: AnnotationContent): Promise<Annotation> {
  return requestJson<Annotation>(`${ANNOTATIONS}/${encodeURIComponent(of.id)}`, {
    method: "PUT",
    json: { ...content, revision: of.revision },
  });
}

export function deleteAnnotation(id: string): Promise<void> {
  return requestJson<void>(`${ANNOTATIONS}/${encodeURIComponent(id)}`, { method: "DELETE" });
}
