/** Steps of an incident. Pure. */
import type { IncidentStatus, IncidentStep } from "./api";

export const INCIDENT_STEPS: Record<
  IncidentStep,
  { label: string; done: string; from: readonly IncidentStatus[]; to: IncidentStatus }
> = {
  acknowledge: { label: "Acknowledge", done: "acknowledged", from: ["OPEN"], to: "ACKNOWLEDGED" },
  resolve: { label: "Resolve", done: "resolved", from: ["OPEN", "ACKNOWLEDGED"], to: "RESOLVED" },
  reopen: { label: "Reopen", done: "reopened", from: ["ACKNOWLEDGED", "RESOLVED"], to: "OPEN" },
};

export const STEP_ORDER: readonly IncidentStep[] = ["acknowledge", "resolve", "reopen"];

/** How long an incident lasted, or lasts so far, seconds. */
export function lasted(incident: { began_at: string; resolved_at?: string | null }, now: number): number {
  const end = incident.resolved_at ? Date.parse(incident.resolved_at) : now;
  return Math.max(0, (end - Date.parse(incident.began_at)) / 1000);
}
