/** Lists that come in pages: `{items, next}`. */
import { useInfiniteQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { requestJson } from "./client";
import type { ApiError } from "./problem";

export interface Page<T> {
  items: T[];
  next?: string | null;
}

/** A path with the parameters that have a value. */
export function withQuery(
  path: string,
  parameters: Record<string, string | number | boolean | null | undefined>,
): string {
  const kept = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(kept.map(([key, value]) => [key, String(value)])).toString();
  return text ? `${path}?${text}` : path;
}

/** A list read page by page; `more` fetches the next one, if there is one. */
export function usePages<T>(
  path: string,
  parameters: Record<string, string | number | boolean | null | undefined> = {},
  options: { refreshMs?: number | false; enabled?: boolean } = {},
) {
  const query = useInfiniteQuery<Page<T>, ApiError>({
    queryKey: ["pages", path, parameters],
    queryFn: ({ pageParam, signal }) =>
      requestJson<Page<T>>(withQuery(path, { ...parameters, cursor: pageParam as string }), { signal }),
    initialPageParam: undefined,
    getNextPageParam: (page) => page.next ?? undefined,
    refetchInterval: options.refreshMs ?? false,
    enabled: options.enabled ?? true,
  });
  const items = useMemo(() => query.data?.pages.flatMap((page) => page.items) ?? [], [query.data]);
  const more = (): void => {
    if (query.hasNextPage && !query.isFetchingNextPage) void query.fetchNextPage();
  };
  return { query, items, more };
}
