/** Takes steps with alerts: shown at once, taken back when the server refuses. */
import { useQueryClient } from "@tanstack/react-query";
import { useCallback, useState } from "react";
import type { Schemas } from "@/api/client";
import { toast } from "@/ui/Toasts";
import { stepAlert, stepAll, stepMany } from "./api";
import type { Feed } from "./feed";
import type { AlertFilter } from "./filter";
import type { AlertRow } from "./model";
import { after, leads, outcome, STEPS, type Step, type StepWords } from "./steps";

export interface Bulk {
  step: Step;
  changed: number;
  cancel: () => void;
}

type Summary = Schemas["Summary"];

/** Counts by status as they will be. */
export function moved(summary: Summary, rows: readonly AlertRow[], step: Step): Summary {
  const counts = { ...(summary.alerts.by_status as Record<string, number>) };
  for (const row of rows) {
    if (!leads(step, row.status)) continue;
    counts[row.status] = Math.max(0, (counts[row.status] ?? 0) - 1);
    counts[STEPS[step].to] = (counts[STEPS[step].to] ?? 0) + 1;
  }
  return { ...summary, alerts: { ...summary.alerts, by_status: counts as never } };
}

export function useSteps(feed: Feed, touch: () => void) {
  const queries = useQueryClient();
  const [bulk, setBulk] = useState<Bulk | null>(null);

  const settle = useCallback(() => {
    void queries.invalidateQueries({ queryKey: ["summary"] });
    void queries.invalidateQueries({ queryKey: ["incidents"] });
  }, [queries]);

  /** With rows of the list. */
  const step = useCallback(
    async (rows: readonly AlertRow[], name: Step, words: StepWords = {}): Promise<void> => {
      const concerned = rows.filter((row) => leads(name, row.status));
      if (concerned.length === 0) {
        toast.calm(
          rows.length === 1
            ? `It is ${rows[0]?.status.toLowerCase()}: nothing to ${name}`
            : `None of them can be ${STEPS[name].done}`,
        );
        return;
      }
      const ids = new Set(concerned.map((row) => row.id));
      const undo = feed.foresee(ids, (row) => after(row, name, words), Date.now());
      touch();
      const counts = queries.getQueryData<Summary>(["summary"]);
      if (counts) queries.setQueryData<Summary>(["summary"], moved(counts, concerned, name));
      try {
        const [only] = concerned;
        const result =
          concerned.length === 1 && only
            ? await stepAlert(only.id, name, words).then(() => ({ changed: 1, failed: [] as Schemas["BulkFault"][] }))
            : await stepMany([...ids], name, words);
        if (result.failed.length > 0) {
          // The server knows better which are where: rows that failed come back with their next change.
          undo();
          const failed = new Set(result.failed.map((fault) => fault.id));
          const kept = new Set([...ids].filter((id) => !failed.has(id)));
          feed.foresee(kept, (row) => after(row, name, words), Date.now());
          touch();
          toast.failed(
            new Error(`${outcome(name, result.changed, result.failed.length)}: ${result.failed[0]?.detail}`),
          );
        } else {
          const done = concerned.map((row) => ({ ...row, status: STEPS[name].to }));
          const text = outcome(name, result.changed, 0);
          toast.ok(text, name === "reopen" ? undefined : { label: "Undo", run: () => void step(done, "reopen") });
        }
      } catch (error) {
        undo();
        touch();
        toast.failed(error);
      } finally {
        settle();
      }
    },
    [feed, touch, queries, settle],
  );

  /** With all that pass the filter, those too that are not loaded. */
  const all = useCallback(
    async (filter: AlertFilter, name: Step, words: StepWords = {}): Promise<void> => {
      const abort = new AbortController();
      let changed = 0;
      const show = (): void => setBulk({ step: name, changed, cancel: () => abort.abort() });
      show();
      try {
        const result = await stepAll(
          filter,
          name,
          words,
          (count) => {
            changed = count;
            show();
          },
          abort.signal,
        );
        const text = outcome(name, result.changed, result.failed.length);
        if (result.failed.length > 0) toast.failed(new Error(`${text}: ${result.failed[0]?.detail}`));
        else toast.ok(text);
      } catch (error) {
        if (abort.signal.aborted) toast.calm(`Stopped: ${outcome(name, changed, 0)}`);
        else toast.failed(error);
      } finally {
        setBulk(null);
        settle();
      }
    },
    [settle],
  );

  return { step, all, bulk };
}
