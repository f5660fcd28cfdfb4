/** A dashboard while it is changed: what differs from what is saved, and saving it. */
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useBlocker } from "@tanstack/react-router";
import { useCallback, useState } from "react";
import { ApiError } from "@/api/client";
import { toast } from "@/ui/Toasts";
import { remember, replaceDashboard } from "./api";
import type { Dashboard, DashboardContent, DashboardSpec } from "./spec";

/** What people say of a dashboard, without what the server adds. */
export function contentOf({ title, description, tags, folder, spec }: DashboardContent): DashboardContent {
  return { title, description, tags, folder, spec };
}

export function differs(a: DashboardContent, b: DashboardContent): boolean {
  return JSON.stringify(contentOf(a)) !== JSON.stringify(contentOf(b));
}

export function useDraft(saved: Dashboard) {
  const queries = useQueryClient();
  const [draft, setDraft] = useState<DashboardContent | null>(null);
  const [conflict, setConflict] = useState(false);
  const content = draft ?? saved;
  const dirty = draft !== null && differs(draft, saved);

  const change = useCallback(
    (next: (before: DashboardContent) => DashboardContent) => setDraft((before) => next(before ?? contentOf(saved))),
    [saved],
  );
  const changeSpec = useCallback(
    (next: (before: DashboardSpec) => DashboardSpec) =>
      change((before) => {
        const spec = next(before.spec);
        return spec === before.spec ? before : { ...before, spec };
      }),
    [change],
  );
  const discard = useCallback(() => setDraft(null), []);

  const save = useMutation({
    mutationFn: (revision: number) => replaceDashboard(saved.id, revision, contentOf(content)),
    onSuccess: (now) => {
      remember(queries, now);
      setDraft(null);
      setConflict(false);
      toast.ok(`“${now.title}” is saved`);
    },
    onError: (error) => {
      if (error instanceof ApiError && error.code === "revision_conflict") setConflict(true);
      else toast.failed(error);
    },
  });

  const blocker = useBlocker({
    shouldBlockFn: ({ current, next }) => dirty && next.pathname !== current.pathname,
    enableBeforeUnload: () => dirty,
    withResolver: true,
  });

  return { content, dirty, change, changeSpec, discard, save, conflict, setConflict, blocker };
}
