/** What a panel asks, and its answer: asked while it is seen, in turn, again when the dashboard is. */
import { type QueryClient, useQuery } from "@tanstack/react-query";
import { type RefObject, useEffect, useMemo, useState } from "react";
import type { ApiError } from "@/api/problem";
import type { Answer, QueryRequest } from "@/api/query";
import { bucketOf, resolveRange, type TimeRange } from "@/lib/time";
import { type Chosen, type Context, interpolate } from "./interpolate";
import { askInTurn } from "./queue";
import { bucketIn, type Panel } from "./spec";

/** Rows of an answer to draw. */
const ROWS_MAX = 10_000;
/** Buckets of a time axis: more where the panel is wide. */
const BUCKETS = { narrow: 60, wide: 120 };

export interface Asked {
  question: QueryRequest | null;
  mistakes: string[];
  context: Context;
  /** Width of the buckets, ms, when the query has them. */
  step: number | undefined;
}

/** The question of a panel. */
export function askedBy(panel: Panel, range: TimeRange, variables: Record<string, Chosen>, wide: boolean): Asked {
  const bucket = bucketOf(range, wide ? BUCKETS.wide : BUCKETS.narrow);
  const context: Context = { variables, bucket, range: resolveRange(range) };
  if (panel.viz === "text" || panel.query.trim() === "")
    return { question: null, mistakes: [], context, step: undefined };
  const { query, mistakes } = interpolate(panel.query, panel.language, context);
  const step = /\$(?:\{__bucket\}|__bucket\b)/.test(panel.query) ? bucket.ms : (bucketIn(query) ?? undefined);
  return {
    question: { query, language: panel.language, from: range.from, to: range.to, limit: ROWS_MAX },
    mistakes,
    context,
    step,
  };
}

/** The answer of a question, kept while it is not asked anew. */
export function usePanelAnswer(question: QueryRequest | null, enabled: boolean) {
  const key = JSON.stringify(question);
  // A query that names `$__from` changes with every moment; what it is about does not.
  return useQuery<Answer, ApiError>({
    queryKey: ["panel", key],
    queryFn: ({ signal }) => askInTurn(question ?? { query: "" }, signal),
    enabled: enabled && question !== null,
    staleTime: 10_000,
    gcTime: 60_000,
    refetchOnWindowFocus: false,
    placeholderData: (before) => before,
  });
}

/** Asks every panel that is seen again; the others when they are seen. */
export function askAgain(queries: QueryClient): void {
  void queries.invalidateQueries({ queryKey: ["panel"] });
  void queries.invalidateQueries({ queryKey: ["annotations"] });
}

/** Does `again` every `ms` while the page is seen. */
export function useRefresh(again: () => void, ms: number | null): void {
  useEffect(() => {
    if (ms === null) return;
    const timer = setInterval(() => {
      if (!document.hidden) again();
    }, ms);
    return () => clearInterval(timer);
  }, [again, ms]);
}

/** Whether an element is on the screen, or about to be. */
export function useSeen(box: RefObject<HTMLElement | null>): boolean {
  const [seen, setSeen] = useState(false);
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const observer = new IntersectionObserver(([entry]) => setSeen(entry?.isIntersecting ?? false), {
      rootMargin: "150px",
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, [box]);
  return seen;
}

/** The range of an answer in ms, as it was when it came. */
export function useResolved(range: TimeRange, at: number): { from: number; to: number } {
  return useMemo(() => resolveRange(range, at || Date.now()), [range, at]);
}
