/** What is wrong now: the state of every service with a reason, and one sentence about all of it. */
import type { Alert, Incident, Service } from "@/features/services/api";
import { formatNumber, formatShare } from "@/lib/format";
import { formatAgo } from "@/lib/time";

export interface ServiceHealth {
  service: string;
  state: string;
  /** Why it is in this state; empty when there is nothing to say. */
  why: string;
  alerts: number;
  recordsPerSecond: number;
  errorsPerSecond: number;
  p95: number | null;
}

/** What `/metrics/summary` says of a service. */
export interface Counted {
  service: string;
  state: string;
  alerts: number;
  records_per_second: number;
  errors_per_second: number;
}

const RANK: Record<string, number> = { CRITICAL: 3, WARNING: 2, NORMAL: 0 };

/** How bad a state is; what is not known stands between warning and normal. */
export function rankOf(state: string | null | undefined): number {
  return RANK[(state ?? "").toUpperCase()] ?? 1;
}

/** Every service, worst first. Figures are of now (`counted`); its state is the worse of now and of the range that `services`
 * are of; reasons are the server's, else the worst open alert. */
export function healthOf(
  counted: readonly Counted[],
  alerts: readonly Alert[],
  services: readonly Service[] = [],
): ServiceHealth[] {
  const worst = new Map<string, Alert>();
  for (const alert of alerts) {
    if (!alert.service) continue;
    const before = worst.get(alert.service);
    if (!before || isWorse(alert, before)) worst.set(alert.service, alert);
  }
  const told = new Map(services.map((service) => [service.service, service]));
  const known = new Set(counted.map(({ service }) => service));
  // A service that says nothing any more is not counted; with alerts it is told all the same.
  const silent = services
    .filter(({ service }) => !known.has(service))
    .map(({ service, state, open_alerts }) => ({
      service,
      state,
      alerts: open_alerts,
      records_per_second: 0,
      errors_per_second: 0,
    }));
  return [...counted, ...silent]
    .map((entry) => {
      const alert = worst.get(entry.service);
      const more = told.get(entry.service);
      return {
        service: entry.service,
        state: more && rankOf(more.state) > rankOf(entry.state) ? more.state : entry.state,
        why: why(entry, alert, more),
        alerts: entry.alerts,
        recordsPerSecond: entry.records_per_second,
        errorsPerSecond: entry.errors_per_second,
        p95: more?.p95_ms ?? null,
      };
    })
    .sort(
      (a, b) =>
        rankOf(b.state) - rankOf(a.state) ||
        b.alerts - a.alerts ||
        b.errorsPerSecond - a.errorsPerSecond ||
        a.service.localeCompare(b.service),
    );
}

function why(entry: Counted, alert: Alert | undefined, more: Service | undefined): string {
  const [first, ...others] = more?.why ?? [];
  if (first) return others.length > 0 ? `${first.text}, and ${others.length} more` : first.text;
  if (alert) return alert.title;
  if (rankOf(entry.state) > 0)
    return entry.alerts > 0 ? `${entry.alerts} ${entry.alerts === 1 ? "alert" : "alerts"} not resolved` : "";
  if (entry.records_per_second === 0) return "No records in the last minute";
  if (entry.errors_per_second > 0)
    return `${formatShare(entry.errors_per_second / entry.records_per_second)} of records are errors`;
  return "";
}

/** Whether `a` is worse than `b`: by severity, then the later. */
export function isWorse(a: Pick<Alert, "severity" | "last_seen">, b: Pick<Alert, "severity" | "last_seen">): boolean {
  const more = rankOf(a.severity) - rankOf(b.severity);
  return more !== 0 ? more > 0 : a.last_seen > b.last_seen;
}

export interface Facts {
  health: readonly ServiceHealth[];
  /** Those that are not resolved; null while they are not known. */
  incidents: readonly Pick<Incident, "owner" | "severity" | "started_at" | "title">[] | null;
  /** There are more incidents than those. */
  moreIncidents: boolean;
  /** What is wrong with Heimdall itself. */
  troubles: readonly string[];
  now: number;
}

export interface Verdict {
  tone: "critical" | "warning" | "ok";
  sentence: string;
  detail: string[];
}

/** One sentence, and what it rests on. */
export function verdictOf({ health, incidents: known, moreIncidents, troubles, now }: Facts): Verdict {
  const incidents = known ?? [];
  const critical = health.filter((entry) => rankOf(entry.state) === 3);
  const ill = health.filter((entry) => rankOf(entry.state) > 0);
  const parts: string[] = [];
  if (ill.length > 0)
    parts.push(`${formatNumber(ill.length)} ${ill.length === 1 ? "service needs" : "services need"} attention`);
  if (incidents.length > 0)
    parts.push(
      `${formatNumber(incidents.length)}${moreIncidents ? " or more" : ""} ${incidents.length === 1 && !moreIncidents ? "incident" : "incidents"} open`,
    );
  if (troubles.length > 0) parts.push("Heimdall itself has trouble");
  const detail: string[] = [...troubles];
  const first = ill[0];
  if (first) detail.push(`Worst: ${first.service}${first.why ? ` (${lower(first.why)})` : ""}`);
  if (ill.length > 0) {
    const counts = [
      critical.length > 0 ? `${critical.length} critical` : "",
      ill.length > critical.length ? `${ill.length - critical.length} with warnings` : "",
      health.length > ill.length ? `${health.length - ill.length} well` : "",
    ].filter(Boolean);
    detail.push(counts.join(", "));
  }
  const nobody = incidents.filter((incident) => !incident.owner).length;
  if (nobody > 0) detail.push(`${nobody} ${nobody === 1 ? "incident has" : "incidents have"} no owner`);
  const newest = incidents.reduce<string | null>(
    (latest, incident) => (latest === null || incident.started_at > latest ? incident.started_at : latest),
    null,
  );
  if (newest) detail.push(`the newest incident began ${formatAgo(newest, now)} ago`);
  if (!known && parts.length > 0) detail.push("incidents are not known");
  if (parts.length === 0) {
    return {
      tone: "ok",
      sentence:
        health.length === 0
          ? "Nothing is wrong"
          : health.length === 1
            ? "The one service is well"
            : `All ${formatNumber(health.length)} services are well`,
      detail: [known ? "no incident is open" : "whether an incident is open is not known"],
    };
  }
  const bad = critical.length > 0 || troubles.length > 0 || incidents.some(({ severity }) => rankOf(severity) === 3);
  return { tone: bad ? "critical" : "warning", sentence: parts.join(", "), detail };
}

function lower(text: string): string {
  return /^[A-Z][a-z]/.test(text) ? text.charAt(0).toLowerCase() + text.slice(1) : text;
}

/** What is wrong with ingest and storage, from `/api/v1/status`; empty when all is well. */
export function troublesOf(status: {
  ready: boolean;
  reason?: string | null;
  stream: { trouble?: string | null };
  store: { damaged?: unknown; cold_trouble?: unknown };
  rule_faults: readonly unknown[];
}): string[] {
  const troubles: string[] = [];
  if (!status.ready) troubles.push(`not ready${status.reason ? `: ${status.reason}` : ""}`);
  if (status.stream.trouble) troubles.push(`segments cannot be written: ${status.stream.trouble}`);
  const damaged = Array.isArray(status.store.damaged) ? status.store.damaged.length : 0;
  if (damaged > 0) troubles.push(`${damaged} damaged ${damaged === 1 ? "segment" : "segments"}`);
  if (typeof status.store.cold_trouble === "string") troubles.push(`cold storage: ${status.store.cold_trouble}`);
  return troubles;
}
