/** Requests: typed by the server's own description (`schema.d.ts`), failing with `ApiError`.
 *
 *     const page = await unwrap(client.GET("/api/v1/incidents", { params: { query: { status: "open" } }, signal }));
 */
import createClient from "openapi-fetch";
import { ApiError, asApiError, problemOf } from "./problem";
import type { components, paths } from "./schema";
import { sessionHeaders, useSession } from "./session";

export type Schemas = components["schemas"];

export const client = createClient<paths>({ baseUrl: globalThis.location?.origin ?? "http://127.0.0.1:8000" });

client.use({
  onRequest({ request }) {
    for (const [name, value] of Object.entries(sessionHeaders())) request.headers.set(name, value);
    return request;
  },
});

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The body of an answer; throws `ApiError` for any other than a success. */
export async function unwrap<T>(answer: Promise<Answer<T>>): Promise<T> {
  let settled: Answer<T>;
  try {
    settled = await answer;
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw asApiError(error);
  }
  if (!settled.response.ok) throw failed(problemOf(settled.response.status, settled.error));
  return settled.data as T;
}

/** A request the description does not type (another format, a stream): the raw answer, or `ApiError`. */
export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { ...init, headers: { ...sessionHeaders(), ...init.headers } });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw asApiError(error);
  }
  if (!response.ok) throw failed(problemOf(response.status, await response.json().catch(() => null)));
  return response;
}

/** `request` with JSON in and out, for routes newer than the generated types. */
export async function requestJson<T>(path: string, init: RequestInit & { json?: unknown } = {}): Promise<T> {
  const { json, ...rest } = init;
  const answer = await request(path, {
    ...rest,
    ...(json === undefined
      ? {}
      : {
          body: JSON.stringify(json),
          method: rest.method ?? "POST",
          headers: { "Content-Type": "application/json", ...rest.headers },
        }),
  });
  return (answer.status === 204 ? undefined : await answer.json()) as T;
}

function failed(error: ApiError): ApiError {
  if (error.status === 401) useSession.getState().refuse();
  return error;
}

export { ApiError };
