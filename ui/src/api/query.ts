/** Questions to the store: `POST /api/v1/query`, streamed while it is answered. */
import { useQuery } from "@tanstack/react-query";
import { request } from "./client";
import { type ApiError, asApiError, problemOf } from "./problem";

export type Language = "search" | "sql" | "ask";
/** A cell: times are RFC 3339 with nanoseconds, integers beyond 2^53 are text. */
export type Cell = string | number | boolean | null | Cell[] | { [key: string]: Cell };

export interface Column {
  name: string;
  /** `text` `int` `float` `bool` `time` `level` `json` … */
  type: string;
}

/** What the server says of an answer. */
export interface Stats {
  elapsed_ms?: number;
  strategy?: string;
  cache?: string;
  rows_scanned?: number;
  rows_matched?: number;
  bytes_read?: number;
  segments_total?: number;
  segments_scanned?: number;
  partial?: boolean;
  default_limit?: number;
  /** Cursor of the next page of records, or null. */
  next?: string | null;
  warnings?: string[];
  notes?: string[];
}

/** The search line a question was understood as. */
export interface Compiled {
  language: Language;
  query: string;
  from?: string | null;
  to?: string | null;
  /** Which words mean which part of the line. */
  because?: { words: string; kind: string; means: string }[];
}

export interface Answer {
  columns: Column[];
  rows: Cell[][];
  stats: Stats;
  compiled?: Compiled;
}

export interface Progress {
  share: number;
  rows_done: number;
  rows_total: number;
  rows_matched: number;
}

export interface QueryRequest {
  query: string;
  language?: Language;
  from?: string;
  to?: string;
  limit?: number;
  cursor?: string;
  /** IANA name: `yesterday` of a question is a day there. */
  zone?: string;
}

/** JSON whose integers beyond 2^53 become text instead of losing digits (where the browser can tell). */
export function parseExact(text: string): unknown {
  const reviver = (_key: string, value: unknown, context?: { source?: string }): unknown =>
    typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value) && context?.source
      ? context.source
      : value;
  return JSON.parse(text, reviver as (key: string, value: unknown) => unknown);
}

/** Asks once and waits for the whole answer. */
export async function ask(question: QueryRequest, signal?: AbortSignal): Promise<Answer> {
  const response = await request("/api/v1/query", {
    method: "POST",
    body: JSON.stringify(question),
    headers: { "Content-Type": "application/json" },
    signal,
  });
  return parseExact(await response.text()) as Answer;
}

/** The plan and its cost, without running it. */
export async function explain<T = Record<string, unknown>>(question: QueryRequest, signal?: AbortSignal): Promise<T> {
  const response = await request("/api/v1/query", {
    method: "POST",
    body: JSON.stringify({ ...question, explain: true }),
    headers: { "Content-Type": "application/json" },
    signal,
  });
  return (await response.json()) as T;
}

/** What a stream tells, in the order it comes. */
export interface Listener {
  onColumns?: (columns: Column[], compiled?: Compiled) => void;
  onRows?: (rows: Cell[][]) => void;
  onProgress?: (progress: Progress) => void;
}

/** Asks and listens while the answer is found; resolves with its statistics. Searches stream, other languages come whole. */
export async function stream(question: QueryRequest, listener: Listener, signal?: AbortSignal): Promise<Stats> {
  if (question.language && question.language !== "search") {
    const answer = await ask(question, signal);
    listener.onColumns?.(answer.columns, answer.compiled);
    listener.onRows?.(answer.rows);
    return answer.stats;
  }
  const response = await request("/api/v1/query", {
    method: "POST",
    body: JSON.stringify({ ...question, stream: true }),
    headers: { "Content-Type": "application/json" },
    signal,
  });
  let stats: Stats | null = null;
  for await (const line of lines(response)) {
    const part = parseExact(line) as Record<string, unknown>;
    if ("columns" in part) listener.onColumns?.(part.columns as Column[]);
    if ("rows" in part) listener.onRows?.(part.rows as Cell[][]);
    if ("progress" in part) listener.onProgress?.(part.progress as Progress);
    if ("problem" in part) throw problemOf(Number((part.problem as { status?: number }).status ?? 500), part.problem);
    if ("stats" in part) stats = part.stats as Stats;
  }
  if (!stats) throw asApiError(new Error("the answer ended early"));
  return stats;
}

/** Lines of a body as they arrive. */
export async function* lines(response: Response): AsyncGenerator<string> {
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    rest += value;
    const found = rest.split("\n");
    rest = found.pop() ?? "";
    for (const line of found) if (line) yield line;
  }
  if (rest) yield rest;
}

/** A question answered and kept: for panels, lists and cards. Asks again when `refreshMs` passes. */
export function useAnswer(question: QueryRequest | null, options: { refreshMs?: number | false; keep?: boolean } = {}) {
  return useQuery<Answer, ApiError>({
    queryKey: ["query", question],
    queryFn: ({ signal }) => ask(question ?? { query: "" }, signal),
    enabled: question !== null,
    refetchInterval: options.refreshMs ?? false,
    placeholderData: options.keep === false ? undefined : (before) => before,
  });
}

/** Place of a column in an answer, or -1. */
export function columnIndex(answer: Pick<Answer, "columns">, name: string): number {
  return answer.columns.findIndex((column) => column.name === name);
}
