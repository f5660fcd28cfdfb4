import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import { useLiveAlerts } from "@/live/alerts";

/** Changes of alerts within this time are answered by one look. */
const TOGETHER_MS = 2500;

/** Looks again at what depends on alerts soon after any of them changed. */
export function useLiveRefresh(): void {
  const queries = useQueryClient();
  const revision = useLiveAlerts((live) => live.revision);
  const first = useRef(revision);
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  useEffect(() => {
    if (revision === first.current || timer.current) return;
    timer.current = setTimeout(() => {
      timer.current = null;
      for (const key of [["alerts", "few"], ["incidents"], ["summary"]])
        void queries.invalidateQueries({ queryKey: key, refetchType: "active" });
    }, TOGETHER_MS);
  }, [revision, queries]);
  useEffect(
    () => () => {
      if (timer.current) clearTimeout(timer.current);
    },
    [],
  );
}
