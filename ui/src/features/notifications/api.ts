/** Notifications as their page reads them. */
import { client, type Schemas, unwrap } from "@/api/client";

export interface Receiver {
  name: string;
  channels: { kind: string; is_down: boolean }[];
  people: string[];
  folded: number;
}

export interface RouteStep {
  path: string;
  matchers: string[];
  is_match: boolean;
  is_taken: boolean;
  receiver: string;
}

export interface TestResult {
  channel: string;
  error: string | null;
}

export interface ChannelDelivery {
  channel: string;
  state: string;
  attempts: number;
  to: string[];
  error: string | null;
}

export interface Delivery extends Omit<Schemas["Delivery"], "channels"> {
  channels: ChannelDelivery[];
}

export interface Recurrence {
  weekdays?: string[];
  from: string;
  to: string;
  zone?: string | null;
}

export interface Silence extends Omit<Schemas["Silence"], "recurrence"> {
  recurrence: Recurrence | null;
}

export type SilenceRequest = Schemas["SilenceRequest"];

export async function getReceivers(signal?: AbortSignal): Promise<Receiver[]> {
  return (await unwrap(client.GET("/api/v1/notifications/receivers", { signal }))).items as unknown as Receiver[];
}

export async function testReceiver(receiver: string): Promise<TestResult[]> {
  return (await unwrap(client.POST("/api/v1/notifications/test", { body: { receiver } })))
    .items as unknown as TestResult[];
}

export async function getRoutes(alert: string, signal?: AbortSignal): Promise<RouteStep[]> {
  const page = await unwrap(client.GET("/api/v1/notifications/routes", { params: { query: { alert } }, signal }));
  return page.items as unknown as RouteStep[];
}

export async function getOnCall(at: string | undefined, signal?: AbortSignal): Promise<Schemas["OnCall"][]> {
  const query = at ? { at } : {};
  return (await unwrap(client.GET("/api/v1/notifications/oncall", { params: { query }, signal }))).items;
}

export async function getDeliveries(
  filter: { receiver?: string; state?: string; since?: string },
  cursor: string | null,
  signal?: AbortSignal,
): Promise<{ items: Delivery[]; next: string | null }> {
  const query = { ...filter, limit: 100, ...(cursor ? { cursor } : {}) };
  const page = await unwrap(client.GET("/api/v1/notifications", { params: { query }, signal }));
  return { items: page.items as unknown as Delivery[], next: page.next ?? null };
}

export async function getSilences(
  state: string,
  cursor: string | null,
  signal?: AbortSignal,
): Promise<{ items: Silence[]; next: string | null }> {
  const query = { state, limit: 100, ...(cursor ? { cursor } : {}) };
  const page = await unwrap(client.GET("/api/v1/silences", { params: { query }, signal }));
  return { items: page.items as unknown as Silence[], next: page.next ?? null };
}

export async function saveSilence(silence: SilenceRequest): Promise<void> {
  await unwrap(client.POST("/api/v1/silences", { body: silence }));
}

export async function expireSilence(id: string): Promise<void> {
  await unwrap(client.DELETE("/api/v1/silences/{id}", { params: { path: { id } } }));
}
