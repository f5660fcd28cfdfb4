/** Alerts as the pages use them: the parts the API's description leaves open are named here, once. */
import type { Schemas } from "@/api/client";

export type Severity = "NORMAL" | "WARNING" | "CRITICAL";
export type Status = "OPEN" | "ACKNOWLEDGED" | "SUPPRESSED" | "RESOLVED";
export type Priority = "P1" | "P2" | "P3";

export const STATUSES: readonly Status[] = ["OPEN", "ACKNOWLEDGED", "SUPPRESSED", "RESOLVED"];
/** Statuses of alerts that are not over. */
export const LIVE_STATUSES: readonly Status[] = ["OPEN", "ACKNOWLEDGED", "SUPPRESSED"];
export const SEVERITIES: readonly Severity[] = ["CRITICAL", "WARNING", "NORMAL"];
export const PRIORITIES: readonly Priority[] = ["P1", "P2", "P3"];

export interface Entity {
  kind: string;
  value: string;
}

export interface Mute {
  kind: "silence" | "maintenance" | "inhibition" | "flapping";
  by: string | null;
  reason: string;
  since: string;
}

export interface Baseline {
  mean: number;
  stddev: number;
  samples: number;
  threshold: number;
  observed: number;
}

export interface Feature {
  name: string;
  value: number;
}

export interface Feedback {
  verdict: "true_positive" | "false_positive";
  by: string;
  at: string;
  note: string | null;
}

export interface Change {
  at: string;
  from: Status | null;
  to: Status;
  by: string;
  note: string | null;
}

export interface Remark {
  at: string;
  by: string;
  text: string;
}

export interface Similar extends Omit<Schemas["SimilarAlert"], "entity" | "feedback"> {
  entity: Entity;
  feedback: Feedback | null;
}

/** An alert with everything that is known of it. */
export interface AlertDetail
  extends Omit<
    Schemas["Alert"],
    | "entity"
    | "severity"
    | "status"
    | "priority"
    | "muted"
    | "baseline"
    | "features"
    | "feedback"
    | "history"
    | "comments"
    | "labels"
    | "annotations"
  > {
  entity: Entity;
  severity: Severity;
  status: Status;
  priority: Priority;
  muted: Mute | null;
  baseline: Baseline | null;
  features: Feature[];
  feedback: Feedback | null;
  history: Change[];
  comments: Remark[];
  labels: Record<string, string>;
  annotations: Record<string, string>;
  similar?: Similar[];
}

/** What a row of the list shows. A hundred thousand of them are held at once, so evidence, history and features are not here. */
export interface AlertRow {
  id: string;
  title: string;
  summary: string;
  rule: string;
  detector: string;
  severity: Severity;
  status: Status;
  priority: Priority;
  service: string | null;
  entity: Entity;
  raised_at: string;
  last_seen: string;
  count: number;
  assignee: string | null;
  incident: string | null;
  suppressed_until: string | null;
  muted: Mute | null;
  tenant: string;
  labels: Record<string, string>;
}

/** An alert of the API as the detail pages read it. */
export function detailOf(alert: Schemas["Alert"]): AlertDetail {
  return alert as unknown as AlertDetail;
}

/** The row of an alert. */
export function rowOf(alert: Schemas["Alert"]): AlertRow {
  const all = detailOf(alert);
  return {
    id: all.id,
    title: all.title,
    summary: all.summary,
    rule: all.rule,
    detector: all.detector,
    severity: all.severity,
    status: all.status,
    priority: all.priority,
    service: all.service ?? null,
    entity: all.entity,
    raised_at: all.raised_at,
    last_seen: all.last_seen,
    count: all.count,
    assignee: all.assignee ?? null,
    incident: all.incident ?? null,
    suppressed_until: all.suppressed_until ?? null,
    muted: all.muted ?? null,
    tenant: all.tenant,
    labels: all.labels,
  };
}

/** Value of a label as matchers see it; an absent one is the empty text. */
export function labelOf(row: AlertRow, name: string): string {
  const own = row.labels[name];
  if (own !== undefined) return own;
  switch (name) {
    case "alertname":
    case "rule":
      return row.rule;
    case "detector":
      return row.detector;
    case "severity":
      return row.severity.toLowerCase();
    case "priority":
      return row.priority;
    case "tenant":
      return row.tenant;
    case "service":
      return row.service ?? "";
    case "entity":
      return row.entity.value;
    case "entity_kind":
      return row.entity.kind;
    default:
      return name === row.entity.kind ? row.entity.value : "";
  }
}
