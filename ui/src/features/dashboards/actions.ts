/** Where panels lead: to Explore, and to files. */
import { request } from "@/api/client";
import type { QueryRequest } from "@/api/query";
import { toast } from "@/ui/Toasts";
import { fileName, saveFile } from "./files";
import { quoteSearch } from "./interpolate";

/** The address of Explore for a question. */
export function exploreOf(question: QueryRequest): Record<string, string | undefined> {
  return { q: question.query, lang: question.language, from: question.from, to: question.to };
}

/** The records behind a value: the conditions of a search line and one more, without its pipes. SQL stays as it is. */
export function narrowedBy(question: QueryRequest, column: string, value: string): QueryRequest {
  if (question.language === "sql") return question;
  const name = /^[\w.@]+$/.test(column) ? column : column.replace(/[^\w.@]/g, "\\$&");
  const one = value === "(none)" ? `-exists:${name}` : `${name}:${quoteSearch(value)}`;
  return { ...question, query: `${conditionsOf(question.query)} ${one}`.trim() };
}

/** What stands before the first pipe of a search line. */
export function conditionsOf(query: string): string {
  let quoted = false;
  for (let at = 0; at < query.length; at += 1) {
    const char = query[at];
    if (char === "\\") at += 1;
    else if (char === '"') quoted = !quoted;
    else if (char === "|" && !quoted && query[at + 1] !== "|") return query.slice(0, at).trim();
    else if (char === "|" && !quoted) at += 1;
  }
  return query.trim();
}

/** The answer of a question as a file. */
export function exportCsv(title: string, question: QueryRequest): void {
  request("/api/v1/query", {
    method: "POST",
    body: JSON.stringify(question),
    headers: { "Content-Type": "application/json", Accept: "text/csv" },
  })
    .then(async (response) => {
      saveFile(fileName(title).replace(/json$/, "csv"), await response.blob());
      if (response.headers.get("heimdall-partial") === "true")
        toast.calm("The file is not all of the answer: it was cut");
    })
    .catch(toast.failed);
}
