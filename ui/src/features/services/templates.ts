/** Kinds of messages of a service: the commonest, and those that were not there before. */
import { type Answer, columnIndex } from "@/api/query";
import { num } from "./series";

export interface Template {
  id: string;
  text: string;
  count: number;
  share: number;
  firstSeen: string | null;
  lastSeen: string | null;
}

/** Rows of `patterns` as templates, in their order. */
export function templatesOf(answer: Answer): Template[] {
  const [id, text, count, share, first, last] = [
    "template_id",
    "template",
    "count",
    "share",
    "first_seen",
    "last_seen",
  ].map((name) => columnIndex(answer, name));
  const time = (cell: unknown): string | null => (typeof cell === "string" ? cell : null);
  return answer.rows.map((row) => ({
    id: String(row[id ?? -1]),
    text: String(row[text ?? -1] ?? ""),
    count: num(row[count ?? -1]),
    share: num(row[share ?? -1]),
    firstSeen: time(row[first ?? -1]),
    lastSeen: time(row[last ?? -1]),
  }));
}

/** Templates of now that did not occur before, the newest first. */
export function newTemplates(now: readonly Template[], before: readonly Template[]): Template[] {
  const known = new Set(before.map((template) => template.id));
  return now
    .filter((template) => !known.has(template.id))
    .sort((a, b) => (b.firstSeen ?? "").localeCompare(a.firstSeen ?? "") || b.count - a.count);
}
