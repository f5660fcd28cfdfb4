/** Everything that happened to an alert, in one order. Pure. */
import type { Decision } from "../api";
import type { AlertDetail } from "../model";

export type EventKind = "found" | "status" | "comment" | "told" | "untold" | "feedback";

export interface Event {
  at: string;
  kind: EventKind;
  by: string | null;
  text: string;
  detail?: string;
}

const TOLD = new Set(["sent", "updated", "acknowledged", "resolved", "escalated", "digest"]);

const OUTCOMES: Record<string, string> = {
  sent: "told",
  updated: "told of the change",
  acknowledged: "told that somebody works on it",
  resolved: "told that it is over",
  escalated: "told, because nobody acknowledged",
  digest: "told in a digest",
  waiting: "will be told",
  grouped: "will be told with others",
  rate_limited: "waits for the next digest",
  suppressed: "not told: the alert is suppressed",
  silenced: "not told: a silence",
  maintenance: "not told: maintenance",
  inhibited: "not told: another alert says it",
  flapping: "not told: it comes and goes",
  quiet_time: "not told: a quiet time",
  no_route: "not told: no receiver is configured for it",
  no_channel: "not told: the receiver has no channel",
  failed: "not reached; it is tried again",
  about_itself: "not told: it is about this very channel",
  over_untold: "not told: it was over before",
  rerouted: "not told: the routing changed first",
};

/** A decision in words. */
export function decided(decision: Decision): string {
  const what = OUTCOMES[decision.outcome] ?? decision.outcome;
  return decision.receiver ? `${decision.receiver}: ${what}` : what.charAt(0).toUpperCase() + what.slice(1);
}

/** Newest first. What repeats itself (the same decision about the same receiver) is told once, the last time. */
export function timelineOf(alert: AlertDetail, decisions: readonly Decision[]): Event[] {
  const events: Event[] = [{ at: alert.first_seen, kind: "found", by: alert.detector, text: "First seen" }];
  if (alert.count > 1)
    events.push({
      at: alert.last_seen,
      kind: "found",
      by: alert.detector,
      text: `Seen again, ${alert.count.toLocaleString("en-US")} times in all`,
    });
  for (const change of alert.history)
    events.push({
      at: change.at,
      kind: "status",
      by: change.by,
      text: change.from === change.to || change.from === null ? change.to : `${change.from} → ${change.to}`,
      ...(change.note ? { detail: change.note } : {}),
    });
  for (const remark of alert.comments)
    events.push({ at: remark.at, kind: "comment", by: remark.by, text: remark.text });
  if (alert.feedback)
    events.push({
      at: alert.feedback.at,
      kind: "feedback",
      by: alert.feedback.by,
      text: alert.feedback.verdict === "true_positive" ? "True positive" : "False positive",
      ...(alert.feedback.note ? { detail: alert.feedback.note } : {}),
    });
  const last = new Map<string, Decision>();
  for (const decision of decisions) {
    const key = `${decision.receiver}\n${decision.outcome}`;
    const known = last.get(key);
    if (!known || known.at < decision.at) last.set(key, decision);
  }
  for (const decision of last.values())
    events.push({
      at: decision.at,
      kind: TOLD.has(decision.outcome) ? "told" : "untold",
      by: null,
      text: decided(decision),
      ...(decision.detail ? { detail: decision.detail } : {}),
    });
  return events.sort((a, b) => (a.at < b.at ? 1 : a.at > b.at ? -1 : 0));
}
