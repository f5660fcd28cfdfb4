/** Playbooks and what they did: `/api/v1/actions`, `/api/v1/breakers`. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { requestJson, type Schemas } from "@/api/client";
import { type Page, withQuery } from "@/api/pages";
import type { ApiError } from "@/api/problem";
import { toast } from "@/ui/Toasts";

export type RunState =
  | "awaiting_approval"
  | "queued"
  | "running"
  | "verifying"
  | "rolling_back"
  | "succeeded"
  | "rehearsed"
  | "refused"
  | "rejected"
  | "expired"
  | "cancelled"
  | "rolled_back"
  | "failed";

export interface RunAlert {
  id: string;
  rule: string;
  title: string;
  severity?: string;
  service?: string | null;
}

export interface Approval {
  why: string;
  by: string[];
  expires_at: string | null;
  answer?: { by: string; at: string; note?: string | null } | null;
  is_approved?: boolean | null;
}

/** A run as the list has it. */
export interface Run extends Omit<Schemas["Run"], "alert" | "approval" | "state"> {
  alert: RunAlert;
  approval: Approval | null;
  state: RunState;
}

interface Step {
  action: { kind: string; target: string; with?: Record<string, unknown> };
  timeout: string | null;
  retries: number;
  on_failure: string;
}

interface Effect {
  summary: string;
  inverse: unknown;
  reach: { service: string | null; touched: number; instances: number };
  is_idempotent: boolean;
}

/** How an attempt ended: `done`, `failed`, `refused`, `lost`, `unknown`. */
export interface AttemptEnd {
  kind: string;
  summary?: string;
  reason?: string;
  maybe_done?: boolean;
}

interface Leg {
  branch: string;
  steps: {
    step: Step;
    attempts: {
      begun_at: string;
      effect?: Effect | null;
      ended_at?: string | null;
      end?: AttemptEnd | null;
    }[];
  }[];
  verified: { since: string; count: number; is_healed: boolean; detail: string } | null;
  undo: unknown;
}

/** A run with all it did. */
export interface RunDetail extends Omit<Run, "actions"> {
  script: { steps: Step[]; otherwise: Step[]; rollback: string };
  legs: Leg[];
  /** What a rehearsal found it would do. */
  looked: { action?: unknown; effect?: Effect | null; against?: string }[];
  timeline: { at: string; text: string }[];
}

export interface Playbook {
  id: string;
  version: number;
  title: string;
  description: string;
  enabled: boolean;
  mode: string;
  effective_mode: string;
  mode_reason: string;
  file: string;
  trigger: { rules: string[]; matchers: string[]; severity: string | null; count_min: number; age_min: string };
  steps: {
    action: string;
    target: string;
    with?: Record<string, unknown>;
    timeout: string | null;
    retries: number;
    on_failure: string;
  }[];
  verification: { wait: string; within: string; every: string; checks: unknown[] } | null;
  approval: { by: string[]; expires: string | null };
  rollback: string;
  /** Null: that of the configuration. */
  cooldown: string | null;
}

export interface Autonomy {
  playbook: string;
  kind: string;
  streak: number;
  successes: number;
  failures: number;
  needed: number;
  is_earned: boolean;
}

export interface ResponseStatus {
  enabled: boolean;
  mode: string;
  kill_switch: unknown;
  playbooks: number;
  playbooks_enabled: number;
  runs_live: number;
  awaiting_approval: number;
  actions_under_way: number;
  actions_waiting: number;
  runs: [string, number][];
  limits: { limit: string; of: string; used: number; most: number }[];
  outages: unknown[];
}

export interface Breaker {
  name: string;
  state: string;
  since: string | null;
  until: string | null;
  reason: string;
}

const BASE = "/api/v1/actions";

const get = <T>(key: string, path: string, refreshMs: number) => ({
  queryKey: ["response", key],
  queryFn: ({ signal }: { signal: AbortSignal }) => requestJson<T>(path, { signal }),
  refetchInterval: refreshMs,
});

export const useResponseStatus = () => useQuery<ResponseStatus, ApiError>(get("status", `${BASE}/status`, 5000));
export const usePlaybooks = () => useQuery<Page<Playbook>, ApiError>(get("playbooks", `${BASE}/playbooks`, 30_000));
export const useAutonomy = () => useQuery<Page<Autonomy>, ApiError>(get("autonomy", `${BASE}/autonomy`, 30_000));
export const useBreakers = () => useQuery<Page<Breaker>, ApiError>(get("breakers", "/api/v1/breakers", 10_000));
export const useKillSwitch = () =>
  useQuery<Schemas["KillSwitchView"], ApiError>(get("kill-switch", `${BASE}/kill-switch`, 10_000));

export const useWaiting = () =>
  useQuery<Page<Run>, ApiError>(get("waiting", withQuery(BASE, { state: "awaiting_approval", limit: 100 }), 5000));

export const useRun = (id: string | null) =>
  useQuery<RunDetail, ApiError>({
    queryKey: ["response", "run", id],
    queryFn: ({ signal }) => requestJson<RunDetail>(`${BASE}/${id}`, { signal }),
    enabled: id !== null,
    refetchInterval: (query) => (query.state.data && isLive(query.state.data.state) ? 2000 : false),
  });

/** Whether a run has not ended yet. */
export function isLive(state: RunState): boolean {
  return ["awaiting_approval", "queued", "running", "verifying", "rolling_back"].includes(state);
}

/** How a state of a run is said and toned. */
export function runLook(state: RunState): {
  text: string;
  tone: "ok" | "critical" | "warning" | "info" | "quiet" | "accent";
} {
  const looks: Record<RunState, ReturnType<typeof runLook>> = {
    awaiting_approval: { text: "Waits for approval", tone: "warning" },
    queued: { text: "Queued", tone: "info" },
    running: { text: "Acting", tone: "info" },
    verifying: { text: "Verifying", tone: "info" },
    rolling_back: { text: "Rolling back", tone: "warning" },
    succeeded: { text: "Succeeded", tone: "ok" },
    rehearsed: { text: "Dry run", tone: "accent" },
    refused: { text: "Refused by a limit", tone: "quiet" },
    rejected: { text: "Rejected", tone: "quiet" },
    expired: { text: "Expired", tone: "quiet" },
    cancelled: { text: "Cancelled", tone: "quiet" },
    rolled_back: { text: "Rolled back", tone: "warning" },
    failed: { text: "Failed", tone: "critical" },
  };
  return looks[state] ?? { text: state, tone: "quiet" };
}

/** Answers a run, or stops it; everything shown of runs is read anew. */
export function useRunStep() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: ({ id, step, note }: { id: string; step: "approve" | "reject" | "cancel"; note: string }) =>
      requestJson(`${BASE}/${id}/${step}`, { json: note ? { note } : {} }),
    onSuccess: (_answer, { step }) => {
      toast.ok(step === "approve" ? "Approved" : step === "reject" ? "Rejected" : "Cancelled");
      void queries.invalidateQueries({ queryKey: ["response"] });
      void queries.invalidateQueries({ queryKey: ["pages", BASE] });
    },
    onError: (error) => {
      toast.failed(error);
      // Somebody else may have answered it, or it expired.
      void queries.invalidateQueries({ queryKey: ["response"] });
    },
  });
}

/** Turns the kill switch. */
export function useTurnKillSwitch() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (json: { on: boolean; note: string }) => requestJson(`${BASE}/kill-switch`, { method: "PUT", json }),
    onSuccess: (_answer, { on }) => {
      toast.ok(on ? "Nothing acts until it is turned off again" : "Playbooks act again");
      void queries.invalidateQueries({ queryKey: ["response"] });
    },
    onError: toast.failed,
  });
}

/** Sets a breaker. */
export function useSetBreaker() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: ({ name, ...json }: { name: string; state: string; for?: string; note?: string }) =>
      requestJson(`/api/v1/breakers/${encodeURIComponent(name)}`, { method: "PUT", json }),
    onSuccess: () => void queries.invalidateQueries({ queryKey: ["response", "breakers"] }),
    onError: toast.failed,
  });
}
