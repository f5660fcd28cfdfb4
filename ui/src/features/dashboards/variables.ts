/** What is chosen of the variables: in the URL as `var-NAME`, else as the dashboard says. */
import { useQueries } from "@tanstack/react-query";
import { useCallback, useMemo } from "react";
import type { Search } from "@/app/router";
import { useUrl } from "@/app/url";
import type { TimeRange } from "@/lib/time";
import { toName } from "@/viz/cells";
import { type Chosen, readChosen, writeChosen } from "./interpolate";
import { askInTurn } from "./queue";
import type { Variable } from "./spec";

/** Values offered at most. */
const OPTIONS_MAX = 1000;

export interface Offered {
  variable: Variable;
  options: string[];
  chosen: Chosen;
  loading: boolean;
  error: Error | null;
}

/** What is chosen where the URL says nothing. */
export function defaultOf(variable: Variable, options: string[]): Chosen {
  const given = variable.default;
  if (given !== null && given !== undefined && given !== "*" && given.length > 0)
    return { all: false, values: Array.isArray(given) ? given : [given] };
  if (variable.multi) return { all: true, values: [] };
  const first = options[0];
  return { all: false, values: first === undefined ? [] : [first] };
}

/** What is chosen. Empty is all where there is one. */
export function chosenOf(variable: Variable, written: string | undefined, options: string[]): Chosen {
  if (written === undefined) return defaultOf(variable, options);
  const chosen = readChosen(written, variable.multi ?? false);
  return !chosen.all && chosen.values.length === 0 ? defaultOf(variable, options) : chosen;
}

export function useVariables(
  variables: Variable[],
  range: TimeRange,
): {
  offered: Offered[];
  chosen: Record<string, Chosen>;
  /** False until the values that panels wait for are there. */
  ready: boolean;
  choose: (variable: Variable, chosen: Chosen) => void;
} {
  const { search, set } = useUrl();
  const answers = useQueries({
    queries: variables.map((variable) => ({
      queryKey: ["variable", variable.query, range] as const,
      queryFn: async ({ signal }: { signal: AbortSignal }): Promise<string[]> => {
        const question = { query: variable.query ?? "", language: "search" as const, ...range, limit: OPTIONS_MAX };
        const answer = await askInTurn(question, signal);
        const names = answer.rows.filter((row) => row[0] !== null && row[0] !== undefined).map((row) => toName(row[0]));
        return [...new Set(names)].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
      },
      enabled: Boolean(variable.query) && !variable.values?.length,
      staleTime: 60_000,
      refetchOnWindowFocus: false,
      placeholderData: (before: string[] | undefined) => before,
    })),
  });
  const key = JSON.stringify([
    variables,
    variables.map((variable) => search[`var-${variable.name}`]),
    answers.map((answer) => [answer.data, answer.isLoading, answer.error?.message]),
  ]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the key holds everything it is made of
  const offered = useMemo(
    () =>
      variables.map((variable, index): Offered => {
        const options = variable.values?.length ? variable.values : (answers[index]?.data ?? []);
        return {
          variable,
          options,
          chosen: chosenOf(variable, search[`var-${variable.name}`], options),
          loading: answers[index]?.isLoading ?? false,
          error: answers[index]?.error ?? null,
        };
      }),
    [key],
  );
  const chosen = useMemo(() => Object.fromEntries(offered.map((one) => [one.variable.name, one.chosen])), [offered]);
  const choose = useCallback(
    (variable: Variable, next: Chosen): void => {
      const changes: Search = { [`var-${variable.name}`]: writeChosen(next) };
      set(changes);
    },
    [set],
  );
  const ready = offered.every((one) => !one.loading || one.chosen.all || one.chosen.values.length > 0);
  return { offered, chosen, ready, choose };
}
