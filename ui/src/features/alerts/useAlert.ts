/** One alert, kept as it is on the server: asked for once, then changed by the live socket and by what the reader does. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useCallback, useEffect, useState } from "react";
import type { ApiError } from "@/api/problem";
import { useLiveAlerts } from "@/live/alerts";
import { toast } from "@/ui/Toasts";
import { getAlert } from "./api";
import { type AlertDetail, detailOf } from "./model";

export function useAlert(id: string) {
  const queries = useQueryClient();
  const query = useQuery<AlertDetail, ApiError>({
    queryKey: ["alert", id],
    queryFn: ({ signal }) => getAlert(id, signal),
    refetchInterval: 60_000,
  });
  const live = useLiveAlerts((state) => state.alerts.get(id));
  useEffect(() => {
    if (live)
      queries.setQueryData<AlertDetail>(["alert", id], (before) =>
        before ? { ...before, ...detailOf(live) } : before,
      );
  }, [live, id, queries]);
  return query;
}

/** Changes an alert: shown at once, taken back when the server refuses. */
export function useAlertChange(id: string) {
  const queries = useQueryClient();
  const [busy, setBusy] = useState(false);
  const change = useCallback(
    async (foreseen: Partial<AlertDetail>, request: () => Promise<AlertDetail>, done?: string): Promise<boolean> => {
      const key = ["alert", id];
      const before = queries.getQueryData<AlertDetail>(key);
      if (before) queries.setQueryData<AlertDetail>(key, { ...before, ...foreseen });
      setBusy(true);
      try {
        const after = await request();
        queries.setQueryData<AlertDetail>(key, (now) => ({ ...now, ...after }));
        if (done) toast.ok(done);
        return true;
      } catch (error) {
        if (before) queries.setQueryData<AlertDetail>(key, before);
        toast.failed(error);
        return false;
      } finally {
        setBusy(false);
        void queries.invalidateQueries({ queryKey: ["summary"] });
        void queries.invalidateQueries({ queryKey: ["decisions", id] });
      }
    },
    [id, queries],
  );
  return { change, busy };
}
