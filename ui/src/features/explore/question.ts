/** The question of the page as it stands in the URL, so that a view can be shared and the back button works. */
import { useCallback, useMemo } from "react";
import type { Language } from "@/api/query";
import { useRange, useUrl } from "@/app/url";
import type { Order } from "./rows/bins";

export type View = "records" | "patterns" | "chart";

const LANGUAGES: readonly string[] = ["search", "sql", "ask"];
const VIEWS: readonly string[] = ["records", "patterns", "chart"];
export const DEFAULT_COLUMNS = ["service", "message"];

export interface Asked {
  query: string;
  language: Language;
  view: View;
  columns: string[];
  order: Order;
  wrap: boolean;
  viz: string | undefined;
}

/** The question asked, and ways to ask another. */
export function useAsked() {
  const { search, set } = useUrl();
  const { range, setRange } = useRange();
  const asked = useMemo<Asked>(
    () => ({
      query: search.q ?? "",
      language: (LANGUAGES.includes(search.lang ?? "") ? search.lang : "search") as Language,
      view: (VIEWS.includes(search.view ?? "") ? search.view : "records") as View,
      columns: search.cols ? search.cols.split(",").filter(Boolean) : DEFAULT_COLUMNS,
      order: search.order === "oldest" ? "oldest" : "newest",
      wrap: search.wrap === "1",
      viz: search.viz,
    }),
    [search.q, search.lang, search.view, search.cols, search.order, search.wrap, search.viz],
  );
  const change = useCallback(
    (changes: Partial<Asked>, options?: { replace?: boolean }) => {
      const url: Record<string, string | undefined> = {};
      if (changes.query !== undefined) url.q = changes.query || undefined;
      if (changes.language !== undefined) url.lang = changes.language === "search" ? undefined : changes.language;
      if (changes.view !== undefined) url.view = changes.view === "records" ? undefined : changes.view;
      if (changes.columns !== undefined) {
        const text = changes.columns.join(",");
        url.cols = text === DEFAULT_COLUMNS.join(",") ? undefined : text;
      }
      if (changes.order !== undefined) url.order = changes.order === "newest" ? undefined : changes.order;
      if (changes.wrap !== undefined) url.wrap = changes.wrap ? "1" : undefined;
      if ("viz" in changes) url.viz = changes.viz;
      set(url, options);
    },
    [set],
  );
  return { asked, change, range, setRange };
}
