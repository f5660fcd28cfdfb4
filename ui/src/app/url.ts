/** State that lives in the URL, so that a view can be shared and the back button works. */
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useCallback, useMemo } from "react";
import { DEFAULT_RANGE, type TimeRange } from "@/lib/time";
import type { Search } from "./router";

/** The page's search parameters and a way to change some of them; `undefined` removes one. */
export function useUrl(): { search: Search; set: (changes: Search, options?: { replace?: boolean }) => void } {
  const search = useSearch({ strict: false }) as Search;
  const navigate = useNavigate();
  const set = useCallback(
    (changes: Search, options: { replace?: boolean } = {}) => {
      void navigate({
        to: ".",
        replace: options.replace ?? false,
        search: ((before: Search) => ({ ...before, ...changes })) as never,
      });
    },
    [navigate],
  );
  return { search, set };
}

/** The time range of the page. */
export function useRange(): { range: TimeRange; setRange: (range: TimeRange) => void } {
  const { search, set } = useUrl();
  const range = useMemo(
    () => ({ from: search.from ?? DEFAULT_RANGE.from, to: search.to ?? DEFAULT_RANGE.to }),
    [search.from, search.to],
  );
  const setRange = useCallback((next: TimeRange) => set({ from: next.from, to: next.to }), [set]);
  return { range, setRange };
}
