/** What the pages of alerts ask of the server. */
import { client, request, type Schemas, unwrap } from "@/api/client";
import { type AlertFilter, bulkOf, paramsOf } from "./filter";
import { type AlertDetail, type AlertRow, detailOf, type Priority, rowOf, type Status } from "./model";
import { STEPS, type Step, type StepWords } from "./steps";

export const PAGE_ROWS = 500;
/** Alerts of one bulk request, as the server bounds them. */
export const BULK_MAX = 1000;
/** Lines of an export; beyond, the file says that there are more. */
export const EXPORT_MAX = 100_000;

export interface AlertPage {
  rows: AlertRow[];
  next: string | null;
}

export async function listAlerts(
  filter: AlertFilter,
  cursor: string | null,
  signal?: AbortSignal,
  limit = PAGE_ROWS,
): Promise<AlertPage> {
  const params = paramsOf(filter);
  params.set("limit", String(limit));
  if (cursor) params.set("cursor", cursor);
  const answer = await request(`/api/v1/alerts?${params}`, { signal });
  const page = (await answer.json()) as Schemas["Page_Alert"];
  return { rows: page.items.map(rowOf), next: page.next ?? null };
}

/** All that pass, as CSV, page by page. */
export async function exportCsv(
  filter: AlertFilter,
  onRows: (count: number) => void,
  signal: AbortSignal,
): Promise<Blob> {
  const parts: string[] = [];
  let cursor: string | null = null;
  let count = 0;
  do {
    const params = paramsOf(filter);
    params.set("limit", "1000");
    if (cursor) params.set("cursor", cursor);
    const answer: Response = await request(`/api/v1/alerts?${params}`, { signal, headers: { Accept: "text/csv" } });
    const text = await answer.text();
    const body = parts.length === 0 ? text : text.slice(text.indexOf("\n") + 1);
    parts.push(body);
    count += 1000;
    onRows(count);
    cursor = answer.headers.get("heimdall-next");
  } while (cursor && count < EXPORT_MAX);
  return new Blob(parts, { type: "text/csv" });
}

export async function getAlert(id: string, signal?: AbortSignal): Promise<AlertDetail> {
  return detailOf(
    (await unwrap(client.GET("/api/v1/alerts/{id}", { params: { path: { id } }, signal }))) as Schemas["Alert"],
  );
}

export async function stepAlert(id: string, step: Step, words: StepWords): Promise<AlertDetail> {
  const answer = client.POST("/api/v1/alerts/{id}/{step}", { params: { path: { id, step } }, body: words });
  return detailOf(await unwrap(answer));
}

export interface BulkResult {
  changed: number;
  failed: Schemas["BulkFault"][];
}

/** Takes a step with these alerts, a thousand at a time. */
export async function stepMany(ids: readonly string[], step: Step, words: StepWords): Promise<BulkResult> {
  const result: BulkResult = { changed: 0, failed: [] };
  for (let at = 0; at < ids.length; at += BULK_MAX) {
    const body = { ids: ids.slice(at, at + BULK_MAX), step, ...words };
    const view = await unwrap(client.POST("/api/v1/alerts/steps", { body }));
    result.changed += view.changed;
    result.failed.push(...view.failed);
  }
  return result;
}

/** Takes a step with all that pass, a thousand at a time: those that are where it leads already are left out, so each
 * request finds fewer. Ends when none is left or a request changes nothing. */
export async function stepAll(
  filter: AlertFilter,
  step: Step,
  words: StepWords,
  onDone: (changed: number) => void,
  signal: AbortSignal,
): Promise<BulkResult> {
  const result: BulkResult = { changed: 0, failed: [] };
  const from: readonly Status[] = filter.statuses.filter((status) => STEPS[step].from.includes(status));
  const bulk = from.length > 0 ? bulkOf(filter, from) : null;
  if (!bulk) return result;
  for (;;) {
    const body = { filter: bulk as Schemas["BulkFilter"], step, ...words };
    const view = await unwrap(client.POST("/api/v1/alerts/steps", { body, signal }));
    result.changed += view.changed;
    // Those that fail are found again by the next request; their count must not grow with the requests.
    const known = new Set(result.failed.map((fault) => fault.id));
    result.failed.push(...view.failed.filter((fault) => !known.has(fault.id)));
    onDone(result.changed);
    if (!view.more || view.changed === 0) return result;
  }
}

export async function assignAlert(id: string, assignee: string | null): Promise<AlertDetail> {
  return detailOf(
    await unwrap(client.POST("/api/v1/alerts/{id}/assign", { params: { path: { id } }, body: { assignee } })),
  );
}

export async function commentAlert(id: string, text: string): Promise<AlertDetail> {
  return detailOf(
    await unwrap(client.POST("/api/v1/alerts/{id}/comments", { params: { path: { id } }, body: { text } })),
  );
}

export async function setPriority(id: string, priority: Priority): Promise<AlertDetail> {
  return detailOf(
    await unwrap(client.POST("/api/v1/alerts/{id}/priority", { params: { path: { id } }, body: { priority } })),
  );
}

export async function giveFeedback(
  id: string,
  verdict: "true_positive" | "false_positive",
  note: string | undefined,
): Promise<AlertDetail> {
  return detailOf(
    await unwrap(client.POST("/api/v1/alerts/{id}/feedback", { params: { path: { id } }, body: { verdict, note } })),
  );
}

/** Who was told, who was not, and why. */
export interface Decision {
  at: string;
  receiver: string | null;
  outcome: string;
  detail: string;
  delivery: string | null;
}

export async function getDecisions(id: string, signal?: AbortSignal): Promise<Decision[]> {
  const page = await unwrap(client.GET("/api/v1/alerts/{id}/decisions", { params: { path: { id } }, signal }));
  return page.items as unknown as Decision[];
}
