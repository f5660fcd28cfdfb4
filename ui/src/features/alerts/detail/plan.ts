/** Plans and runs of playbooks as the alert page reads them. */
import { client, unwrap } from "@/api/client";

export interface Action {
  kind: string;
  target: string;
  with: Record<string, unknown>;
}

export interface PlanStep {
  action: Action;
  timeout: string;
  retries: number;
  on_failure: string;
}

export interface Looked {
  action: Action;
  effect: {
    summary: string;
    inverse: Action | null;
    reach: { service: string | null; touched: number; instances: number };
    is_idempotent: boolean;
  } | null;
  against: string;
}

export interface Plan {
  playbook: string;
  title: string;
  version: number;
  mode: string;
  mode_reason: string;
  would: { kind: string; reason?: string; limit?: string; detail?: string };
  script: { steps: PlanStep[]; otherwise: PlanStep[]; rollback: unknown } | null;
  looked: Looked[];
}

export interface Run {
  id: string;
  playbook: string;
  version: number;
  mode: string;
  state: string;
  reason: string;
  actions: string[];
  created_at: string;
  finished_at?: string | null;
}

export async function getPlan(id: string, signal?: AbortSignal): Promise<Plan[]> {
  const page = await unwrap(client.GET("/api/v1/alerts/{id}/plan", { params: { path: { id } }, signal }));
  return page.items as unknown as Plan[];
}

export async function getRuns(alert: string, signal?: AbortSignal): Promise<Run[]> {
  const page = await unwrap(client.GET("/api/v1/actions", { params: { query: { alert, limit: 20 } }, signal }));
  return page.items as unknown as Run[];
}

export async function answerRun(id: string, answer: "approve" | "reject" | "cancel", note: string): Promise<void> {
  const body = note ? { note } : {};
  const params = { path: { id } };
  if (answer === "approve") await unwrap(client.POST("/api/v1/actions/{id}/approve", { params, body }));
  else if (answer === "reject") await unwrap(client.POST("/api/v1/actions/{id}/reject", { params, body }));
  else await unwrap(client.POST("/api/v1/actions/{id}/cancel", { params, body }));
}

/** What a plan would do, in words. */
export function wouldDo(plan: Plan): { text: string; tone: "ok" | "warning" | "info" | "quiet" } {
  const why = plan.would.reason ?? plan.would.detail ?? plan.would.limit;
  const because = why ? `: ${why}` : "";
  switch (plan.would.kind) {
    case "act":
      return { text: "would act by itself", tone: "ok" };
    case "ask":
      return { text: `would ask a person${because}`, tone: "info" };
    case "rehearse":
      return { text: "would only say what it would do", tone: "quiet" };
    case "refuse":
      return { text: `a limit would stop it${because}`, tone: "warning" };
    case "skip":
      return { text: `would do nothing${because}`, tone: "quiet" };
    default:
      return { text: plan.would.kind, tone: "quiet" };
  }
}

/** An action in one line. */
export function actionWords(action: Action): string {
  const parts = Object.entries(action.with).map(
    ([name, value]) => `${name} ${typeof value === "string" ? value : JSON.stringify(value)}`,
  );
  return `${action.kind} ${action.target}${parts.length > 0 ? ` (${parts.join(", ")})` : ""}`;
}
