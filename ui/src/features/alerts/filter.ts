/** Which alerts are shown: in the URL, in the request, and as a test of one alert. Pure. */
import type { Search } from "@/app/router";
import { resolveTime } from "@/lib/time";
import { parseMatcher, passes, writeMatcher } from "./matchers";
import { type AlertRow, LIVE_STATUSES, labelOf, PRIORITIES, SEVERITIES, STATUSES, type Status } from "./model";

export type Sort = "newest" | "last_seen" | "worst";
export const SORTS: readonly Sort[] = ["newest", "last_seen", "worst"];

export interface AlertFilter {
  statuses: readonly Status[];
  severity?: string;
  priority?: string;
  service?: string;
  rule?: string;
  /** `kind:value`. */
  entity?: string;
  assignee?: string;
  incident?: string;
  text?: string;
  since?: string;
  muted?: "true" | "false";
  matchers: readonly string[];
  sort: Sort;
}

/** Parts of a filter that are one text each, as they stand in the URL. */
export const PARTS = [
  "severity",
  "priority",
  "service",
  "rule",
  "entity",
  "assignee",
  "incident",
  "text",
  "since",
  "muted",
] as const;
export type Part = (typeof PARTS)[number];

/** Matchers stand in one parameter of the URL, apart by this. */
const BETWEEN = "\u001f";

/** The filter of a URL; what is not understood is left out. */
export function filterOf(search: Search): AlertFilter {
  const filter: AlertFilter = {
    statuses: statusesOf(search.status),
    matchers: (search.match ?? "").split(BETWEEN).filter((text) => parseMatcher(text) !== null),
    sort: SORTS.find((sort) => sort === search.sort) ?? "newest",
  };
  for (const part of PARTS) {
    const value = search[part]?.trim();
    if (!value) continue;
    if (part === "muted") {
      if (value === "true" || value === "false") filter.muted = value;
    } else if (part === "severity") {
      const known = SEVERITIES.find((severity) => severity === value.toUpperCase());
      if (known) filter.severity = known;
    } else if (part === "priority") {
      const known = PRIORITIES.find((priority) => priority === value.toUpperCase());
      if (known) filter.priority = known;
    } else filter[part] = value;
  }
  return filter;
}

function statusesOf(text: string | undefined): readonly Status[] {
  if (!text) return LIVE_STATUSES;
  if (text === "all") return STATUSES;
  const named = text.toUpperCase().split(",");
  const known = STATUSES.filter((status) => named.includes(status));
  return known.length > 0 ? known : LIVE_STATUSES;
}

/** What the URL says for these statuses: nothing for those that are not over. */
export function statusText(statuses: readonly Status[]): string | undefined {
  if (statuses.length === STATUSES.length) return "all";
  if (statuses.length === LIVE_STATUSES.length && LIVE_STATUSES.every((status) => statuses.includes(status)))
    return undefined;
  return statuses.join(",").toLowerCase();
}

/** The URL of a filter, every parameter named, so that what is absent is removed. */
export function searchOf(filter: AlertFilter): Search {
  return {
    status: statusText(filter.statuses),
    match: filter.matchers.length > 0 ? filter.matchers.join(BETWEEN) : undefined,
    sort: filter.sort === "newest" ? undefined : filter.sort,
    ...Object.fromEntries(PARTS.map((part) => [part, filter[part] || undefined])),
  };
}

/** Parameters of `GET /api/v1/alerts`. */
export function paramsOf(filter: AlertFilter): URLSearchParams {
  const params = new URLSearchParams();
  if (filter.statuses.length < STATUSES.length) params.set("status", filter.statuses.join(",").toLowerCase());
  for (const part of PARTS) {
    const value = filter[part];
    if (value) params.set(part, value);
  }
  for (const matcher of filter.matchers) params.append("filter", matcher);
  if (filter.sort !== "newest") params.set("sort", filter.sort);
  return params;
}

/** The filter of a bulk step, which knows fewer names; null when it cannot say the same. */
export function bulkOf(filter: AlertFilter, statuses: readonly Status[]): Record<string, unknown> | null {
  if (filter.muted) return null;
  const matchers = [...filter.matchers];
  if (filter.priority) matchers.push(writeMatcher({ label: "priority", op: "=", value: filter.priority }));
  const bulk: Record<string, unknown> = { status: statuses.join(",").toLowerCase(), filter: matchers };
  for (const part of PARTS) if (part !== "muted" && part !== "priority" && filter[part]) bulk[part] = filter[part];
  return bulk;
}

/** Whether an alert belongs into the list; null when only the server can tell. */
export function fits(filter: AlertFilter, row: AlertRow, now: number): boolean | null {
  if (!filter.statuses.includes(row.status)) return false;
  if (filter.severity && row.severity !== filter.severity) return false;
  if (filter.priority && row.priority !== filter.priority) return false;
  if (filter.service && row.service !== filter.service) return false;
  if (filter.rule && row.rule !== filter.rule) return false;
  if (filter.entity && `${row.entity.kind}:${row.entity.value}` !== filter.entity) return false;
  if (filter.assignee && (row.assignee ?? "nobody") !== filter.assignee) return false;
  if (filter.muted && (row.muted !== null) !== (filter.muted === "true")) return false;
  if (filter.since) {
    const from = resolveTime(filter.since, now);
    if (from !== null && Date.parse(row.raised_at) < from) return false;
  }
  if (filter.text && !holds(row, filter.text.toLowerCase())) return false;
  // An incident may be named by its number, which an alert does not have.
  let certain = !filter.incident || filter.incident === row.incident;
  if (filter.incident?.includes("-") && !certain) return false;
  for (const text of filter.matchers) {
    const matcher = parseMatcher(text);
    const passed = matcher ? passes(matcher, labelOf(row, matcher.label)) : null;
    if (passed === false) return false;
    if (passed === null) certain = false;
  }
  return certain ? true : null;
}

function holds(row: AlertRow, text: string): boolean {
  const said = [
    row.title,
    row.summary,
    row.rule,
    row.service ?? "",
    row.entity.value,
    row.assignee ?? "",
    ...Object.values(row.labels),
  ];
  return said.some((words) => words.toLowerCase().includes(text));
}

/** Chips of a filter: what narrows it besides the status. */
export function chipsOf(filter: AlertFilter): { part: Part | "match"; label: string; value: string; at: number }[] {
  const names: Record<Part, string> = {
    severity: "Severity",
    priority: "Priority",
    service: "Service",
    rule: "Rule",
    entity: "Entity",
    assignee: "Assignee",
    incident: "Incident",
    text: "Says",
    since: "Raised since",
    muted: "Muted",
  };
  const parts = PARTS.filter((part) => filter[part]).map((part) => ({
    part,
    label: names[part],
    value: part === "muted" ? (filter.muted === "true" ? "yes" : "no") : (filter[part] ?? ""),
    at: 0,
  }));
  return [...parts, ...filter.matchers.map((value, at) => ({ part: "match" as const, label: "Label", value, at }))];
}
