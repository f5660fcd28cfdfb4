/** Routes of Explore that the generated types do not know yet, and streams of other formats. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type ApiError, request, requestJson } from "@/api/client";
import type { Cell, Language } from "@/api/query";
import type { DashboardSpec } from "@/features/dashboards/spec";

/** How a saved question is shown. */
export interface SavedView {
  columns?: string[];
  order?: "newest" | "oldest";
  tab?: string;
  viz?: string;
}

export interface SavedQuery {
  id: string;
  name: string;
  description: string;
  language: Language;
  query: string;
  from: string | null;
  to: string | null;
  view: SavedView;
  revision: number;
  updated_by?: string;
  updated_at?: string;
}

export interface NewSavedQuery {
  name: string;
  description: string;
  language: Language;
  query: string;
  from: string;
  to: string;
  view: SavedView;
}

interface Page<T> {
  items: T[];
  next?: string | null;
}

export function useSavedQueries(enabled: boolean) {
  return useQuery<SavedQuery[], ApiError>({
    queryKey: ["saved-queries"],
    queryFn: async ({ signal }) =>
      (await requestJson<Page<SavedQuery>>("/api/v1/saved-queries?limit=1000", { signal })).items,
    enabled,
    staleTime: 10_000,
  });
}

export function useSaveQuery() {
  const queries = useQueryClient();
  return useMutation<SavedQuery, ApiError, { query: NewSavedQuery; replaces?: SavedQuery }>({
    mutationFn: ({ query, replaces }) =>
      replaces
        ? requestJson(`/api/v1/saved-queries/${encodeURIComponent(replaces.id)}`, {
            method: "PUT",
            json: { ...query, revision: replaces.revision },
          })
        : requestJson("/api/v1/saved-queries", { json: query }),
    onSettled: () => queries.invalidateQueries({ queryKey: ["saved-queries"] }),
  });
}

export function useDeleteQuery() {
  const queries = useQueryClient();
  return useMutation<void, ApiError, SavedQuery>({
    mutationFn: async ({ id }) => {
      await request(`/api/v1/saved-queries/${encodeURIComponent(id)}`, { method: "DELETE" });
    },
    onSettled: () => queries.invalidateQueries({ queryKey: ["saved-queries"] }),
  });
}

export interface Dashboard {
  id: string;
  title: string;
  description: string;
  tags: string[];
  folder: string;
  built_in: boolean;
  revision: number;
  spec: DashboardSpec;
}

export function useDashboards(enabled: boolean) {
  return useQuery<Dashboard[], ApiError>({
    queryKey: ["dashboards"],
    queryFn: async ({ signal }) =>
      (await requestJson<Page<Dashboard>>("/api/v1/dashboards?limit=1000", { signal })).items,
    enabled,
    staleTime: 10_000,
  });
}

export const getDashboard = (id: string): Promise<Dashboard> =>
  requestJson<Dashboard>(`/api/v1/dashboards/${encodeURIComponent(id)}`);

export const putDashboard = (board: Dashboard): Promise<Dashboard> =>
  requestJson<Dashboard>(`/api/v1/dashboards/${encodeURIComponent(board.id)}`, { method: "PUT", json: board });

export const postDashboard = (
  board: Pick<Dashboard, "title" | "description" | "tags" | "folder" | "spec">,
): Promise<Dashboard> => requestJson<Dashboard>("/api/v1/dashboards", { json: board });

/** A record with its template and the parts of its message that vary. */
export interface RecordView {
  record?: { [key: string]: Cell };
  template?: string | null;
  parameters?: string[];
  /** Byte ranges of the message that are variables. */
  spans?: { from: number; to: number }[];
}
