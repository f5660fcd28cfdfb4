/** What judges: `/api/v1/detectors`, `/api/v1/rules`. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { client, requestJson, type Schemas, unwrap } from "@/api/client";
import { toast } from "@/ui/Toasts";

export type Detector = Schemas["DetectorDocument"] & { dry_run?: boolean; threshold_factor?: number };
export type RuleMode = "on" | "dry_run" | "off";
export type Rule = Schemas["RuleDocument"] & { mode?: RuleMode; origin?: "built_in" | "folder" | "own"; kind?: string };
export type Precision = Schemas["Precision"];

/** A rule with its text. */
export interface RuleSource {
  id: string;
  rule: Rule | null;
  yaml: string;
  origin: "built_in" | "folder" | "own";
  file: string;
  line: number;
  revision: number;
  updated_by?: string | null;
  updated_at?: string | null;
  diagnostics: Diagnostic[];
}

export interface Diagnostic {
  line: number | null;
  column?: number | null;
  severity: "error" | "warning";
  message: string;
  hint?: string | null;
}

export interface RuleSummary {
  id: string;
  title: string;
  kind: string;
  level: string;
  severity: string;
}

export interface Checked {
  ok: boolean;
  diagnostics: Diagnostic[];
  rules: RuleSummary[];
}

/** What rules made of records. */
export interface Tested extends Checked {
  records: {
    index: number;
    time: string;
    record: Record<string, unknown>;
    matched: {
      rule: string;
      title: string;
      why: { field: string | null; value: string | null; test: string | null }[];
    }[];
  }[];
  rejected: { index?: number | null; field?: string | null; reason: string }[];
  alerts: {
    rule: string;
    title: string;
    severity: string;
    entity: { kind: string; value: string };
    time: string;
    summary: string;
  }[];
}

export interface Hour {
  at: string;
  count: number;
}

export interface Backtest {
  records: number;
  matches: number;
  alerts: number;
  per_hour: Hour[];
  sample: Record<string, unknown>[];
  took_ms: number;
}

export interface Preview {
  alerts_now: number;
  alerts_then: number;
  per_hour: { at: string; now: number; then: number }[];
  sample: Record<string, unknown>[];
}

export const useDetectors = () =>
  useQuery({
    queryKey: ["detectors"],
    queryFn: async ({ signal }) => (await unwrap(client.GET("/api/v1/detectors", { signal }))).items as Detector[],
    refetchInterval: 10_000,
  });

export const useRules = () =>
  useQuery({
    queryKey: ["rules"],
    queryFn: async ({ signal }) => (await unwrap(client.GET("/api/v1/rules", { signal }))).items as Rule[],
    refetchInterval: 30_000,
  });

export const useRule = (id: string | null) =>
  useQuery({
    queryKey: ["rule", id],
    queryFn: ({ signal }) => requestJson<RuleSource>(`/api/v1/rules/${encodeURIComponent(id ?? "")}`, { signal }),
    enabled: id !== null,
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

/** Keeps, removes or switches a rule of the tenant; what is shown of all is read anew. */
export function useRuleChange() {
  const queries = useQueryClient();
  const done = (text: string) => () => {
    toast.ok(text);
    void queries.invalidateQueries({ queryKey: ["rules"] });
    void queries.invalidateQueries({ queryKey: ["rule"] });
  };
  const at = (id: string): string => `/api/v1/rules/${encodeURIComponent(id)}`;
  const save = useMutation({
    mutationFn: ({ id, ...json }: { id: string; yaml: string; revision: number }) =>
      requestJson<RuleSource>(at(id), { method: "PUT", json }),
    onSuccess: done("The rule is in force"),
    onError: toast.failed,
  });
  const remove = useMutation({
    mutationFn: ({ id, revision }: { id: string; revision: number }) =>
      requestJson<unknown>(`${at(id)}?revision=${revision}`, { method: "DELETE" }),
    onSuccess: done("The rule is gone"),
    onError: toast.failed,
  });
  const setMode = useMutation({
    mutationFn: ({ id, mode }: { id: string; mode: RuleMode }) =>
      requestJson<unknown>(`${at(id)}/mode`, { json: { mode } }),
    onSuccess: done("The mode is changed"),
    onError: toast.failed,
  });
  return { save, remove, setMode };
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
    }) => requestJson(`/api/v1/detectors/${encodeURIComponent(name)}`, { method: "PUT", json }),
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
