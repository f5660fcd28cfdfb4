/** Incidents as their pages read them. */
import { client, request, type Schemas, unwrap } from "@/api/client";
import type { Entity, Priority, Severity } from "../alerts/model";

export type IncidentStatus = "OPEN" | "ACKNOWLEDGED" | "RESOLVED";
export const INCIDENT_STATUSES: readonly IncidentStatus[] = ["OPEN", "ACKNOWLEDGED", "RESOLVED"];

export interface Incident extends Omit<Schemas["Incident"], "entities" | "severity" | "status" | "priority"> {
  entities: Entity[];
  severity: Severity;
  status: IncidentStatus;
  priority: Priority;
}

export interface Happening {
  at: string;
  by: string;
  kind: string;
  text: string;
  alert?: string;
}

export interface IncidentDetail extends Incident {
  alerts: string[];
  traces: string[];
  timeline: Happening[];
  timeline_dropped: number;
  comments: { at: string; by: string; text: string }[];
}

export interface IncidentFilter {
  status?: string;
  severity?: string;
  owner?: string;
  service?: string;
}

export interface IncidentPage {
  items: Incident[];
  next: string | null;
}

export async function listIncidents(
  filter: IncidentFilter,
  cursor: string | null,
  signal?: AbortSignal,
): Promise<IncidentPage> {
  const query = { ...filter, limit: 100, ...(cursor ? { cursor } : {}) };
  const page = await unwrap(client.GET("/api/v1/incidents", { params: { query }, signal }));
  return { items: page.items as unknown as Incident[], next: page.next ?? null };
}

export async function getIncident(id: string, signal?: AbortSignal): Promise<IncidentDetail> {
  return (await unwrap(
    client.GET("/api/v1/incidents/{id}", { params: { path: { id } }, signal }),
  )) as unknown as IncidentDetail;
}

export type IncidentStep = "acknowledge" | "resolve" | "reopen";

export async function stepIncident(id: string, step: IncidentStep, note: string, alerts: boolean): Promise<void> {
  const body = { alerts, ...(note ? { note } : {}) };
  await unwrap(client.POST("/api/v1/incidents/{id}/{step}", { params: { path: { id, step } }, body }));
}

export async function assignIncident(id: string, owner: string | null): Promise<void> {
  await unwrap(client.POST("/api/v1/incidents/{id}/assign", { params: { path: { id } }, body: { owner } }));
}

export async function commentIncident(id: string, text: string): Promise<void> {
  await unwrap(client.POST("/api/v1/incidents/{id}/comments", { params: { path: { id } }, body: { text } }));
}

export async function addAlert(id: string, alert: string): Promise<void> {
  await unwrap(client.PUT("/api/v1/incidents/{id}/alerts/{alert}", { params: { path: { id, alert } } }));
}

export async function removeAlert(id: string, alert: string): Promise<void> {
  await unwrap(client.DELETE("/api/v1/incidents/{id}/alerts/{alert}", { params: { path: { id, alert } } }));
}

/** The post-mortem, Markdown. */
export async function getReport(id: string, signal?: AbortSignal): Promise<string> {
  const answer = await request(`/api/v1/incidents/${encodeURIComponent(id)}/postmortem`, {
    signal,
    headers: { Accept: "text/markdown" },
  });
  return answer.text();
}
