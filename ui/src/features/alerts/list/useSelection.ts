/** Which rows are chosen. What leaves the list is no longer chosen: nothing is done with what is not seen. */
import { useCallback, useMemo, useRef, useState } from "react";
import type { Feed } from "../feed";
import type { AlertRow } from "../model";

export interface Selection {
  count: number;
  isAllLoaded: boolean;
  /** Those too that are not loaded: all that pass the filter. */
  isAll: boolean;
  has: (id: string) => boolean;
  rows: () => AlertRow[];
  toggle: (id: string, index: number, extend: boolean) => void;
  toggleLoaded: () => void;
  chooseAll: () => void;
  clear: () => void;
}

export function useSelection(feed: Feed, rows: readonly AlertRow[]): Selection {
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [isAll, setAll] = useState(false);
  const anchor = useRef<number | null>(null);
  const current = useRef(rows);
  current.current = rows;

  // biome-ignore lint/correctness/useExhaustiveDependencies: other rows mean that some may have left
  const alive = useMemo(() => {
    for (const id of chosen) if (!feed.has(id)) return new Set([...chosen].filter((each) => feed.has(each)));
    return chosen;
  }, [chosen, feed, rows]);

  const toggle = useCallback((id: string, index: number, extend: boolean) => {
    const from = anchor.current;
    setAll(false);
    setChosen((before) => {
      const next = new Set(before);
      const on = !before.has(id);
      const span =
        extend && from !== null
          ? current.current.slice(Math.min(from, index), Math.max(from, index) + 1).map((row) => row.id)
          : [id];
      for (const each of span) {
        if (on) next.add(each);
        else next.delete(each);
      }
      return next;
    });
    anchor.current = index;
  }, []);

  const clear = useCallback(() => {
    setChosen(new Set());
    setAll(false);
    anchor.current = null;
  }, []);

  const isAllLoaded = rows.length > 0 && alive.size === rows.length;
  return {
    count: isAll ? Number.POSITIVE_INFINITY : alive.size,
    isAllLoaded,
    isAll,
    has: (id) => isAll || alive.has(id),
    rows: () => current.current.filter((row) => alive.has(row.id)),
    toggle,
    toggleLoaded: () => {
      setAll(false);
      setChosen(isAllLoaded ? new Set() : new Set(current.current.map((row) => row.id)));
    },
    chooseAll: () => {
      setChosen(new Set(current.current.map((row) => row.id)));
      setAll(true);
    },
    clear,
  };
}
