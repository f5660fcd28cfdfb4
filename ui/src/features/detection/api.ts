/** What judges: `/api/v1/detectors`, `/api/v1/rules`. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { client, requestJson, type Schemas, unwrap } from "@/api/client";
import { toast } from "@/ui/Toasts";

export type Detector = Schemas["DetectorDocument"];
export type RuleMode = "on" | "dry_run" | "off";
export type Rule = Schemas["RuleDocument"];
export type Precision = Schemas["Precision"];
/** A rule with its text. */
export type RuleSource = Schemas["RuleText"];
export type Diagnostic = Schemas["RuleDiagnostic"];
export type Checked = Schemas["CheckAnswer"];
/** What rules made of records. */
export type Tested = Schemas["TestAnswer"];
export type Backtest = Schemas["BacktestAnswer"];
export type Preview = Schemas["PreviewAnswer"];

export const useDetectors = () =>
  useQuery({
    queryKey: ["detectors"],
    queryFn: async ({ signal }) => (await unwrap(client.GET("/api/v1/detectors", { signal }))).items,
    refetchInterval: 10_000,
  });

export const useRules = () =>
  useQuery({
    queryKey: ["rules"],
    queryFn: async ({ signal }) => (await unwrap(client.GET("/api/v1/rules", { signal }))).items,
    refetchInterval: 30_000,
  });

export const useRule = (id: string | null) =>
  useQuery({
    queryKey: ["rule", id],
    queryFn: ({ signal }) => requestJson<RuleSource>(`/api/v1/rules/${encodeURIComponent(id ?? "")}`, { signal }),
    enabled: id !== null,
    // Somebody else may be writing the same rule: what is in force is looked at now and then.
    refetchInterval: 15_000,
  });

export const checkRule = (yaml: string, signal?: AbortSignal) =>
  requestJson<Checked>("/api/v1/rules/check", { json: { yaml }, signal });

export const backtestRule = (json: { yaml?: string; rule?: string; from: string; to: string }, signal?: AbortSignal) =>
  requestJson<Backtest>("/api/v1/rules/backtest", { json, signal });

export const testRule = (json: { yaml: string; text: string; source?: string }, signal?: AbortSignal) =>
  requestJson<Tested>("/api/v1/rules/test", { json, signal });

export const previewDetector = (
  name: string,
  json: { threshold_factor: number; from: string; to: string },
  signal?: AbortSignal,
) => requestJson<Preview>(`/api/v1/detectors/${encodeURIComponent(name)}/preview`, { json, signal });

/** Keeps, removes or switches a rule of the tenant; what is shown of all is read anew, after a refusal too: a conflict means
 * that what is shown is old. */
export function useRuleChange() {
  const queries = useQueryClient();
  const readAnew = (): void => {
    void queries.invalidateQueries({ queryKey: ["rules"] });
    void queries.invalidateQueries({ queryKey: ["rule"] });
  };
  const at = (id: string): string => `/api/v1/rules/${encodeURIComponent(id)}`;
  const save = useMutation({
    mutationFn: ({ id, ...json }: { id: string; yaml: string; revision: number }) =>
      requestJson<RuleSource>(at(id), { method: "PUT", json }),
    onSuccess: (kept, { id }) => {
      toast.ok("The rule is in force");
      queries.setQueryData(["rule", id], kept);
      void queries.invalidateQueries({ queryKey: ["rules"] });
    },
    onError: readAnew,
  });
  const remove = useMutation({
    mutationFn: ({ id, revision }: { id: string; revision: number }) =>
      requestJson<unknown>(`${at(id)}?revision=${revision}`, { method: "DELETE" }),
    onSuccess: (_gone, { id }) => {
      toast.ok("The rule is gone");
      queries.removeQueries({ queryKey: ["rule", id] });
      void queries.invalidateQueries({ queryKey: ["rules"] });
    },
    onError: (error) => {
      toast.failed(error);
      readAnew();
    },
  });
  const setMode = useMutation({
    mutationFn: ({ id, mode }: { id: string; mode: RuleMode }) =>
      requestJson<Rule>(`${at(id)}/mode`, { json: { mode } }),
    onSuccess: (_rule, { mode }) => {
      toast.ok(`The rule is ${modeText(mode)}`);
      readAnew();
    },
    onError: toast.failed,
  });
  return { save, remove, setMode };
}

/** A mode in words. */
export function modeText(mode: string): string {
  return mode === "dry_run" ? "in dry run" : mode;
}

/** Changes a detector; what is shown of all is read anew. */
export function useTune() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: ({
      name,
      ...json
    }: {
      name: string;
      enabled?: boolean;
      dry_run?: boolean;
      threshold_factor?: number;
    }) => requestJson<Detector>(`/api/v1/detectors/${encodeURIComponent(name)}`, { method: "PUT", json }),
    onSuccess: (_answer, { name }) => {
      toast.ok(`${name} is changed`);
      void queries.invalidateQueries({ queryKey: ["detectors"] });
    },
    onError: toast.failed,
  });
}

/** What people said of alerts, in words: `12 of 14 right (60 % to 96 %)`. */
export function precisionText(feedback: Precision | null | undefined): string {
  if (!feedback) return "nobody judged any";
  const all = feedback.true_positives + feedback.false_positives;
  const percent = (share: number): string => `${Math.round(share * 100)} %`;
  return `${feedback.true_positives} of ${all} right (${percent(feedback.low)} to ${percent(feedback.high)})`;
}
