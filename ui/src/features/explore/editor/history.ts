/** Questions asked before, newest first, kept in this browser; arrow-up brings them back. */
import type { Language } from "@/api/query";

const KEY = "heimdall.explore.history";
const HISTORY_MAX = 100;

export interface Asked {
  language: Language;
  query: string;
}

/** The list with a question at its head; the same question is kept once. */
export function remembered(list: readonly Asked[], asked: Asked): Asked[] {
  const query = asked.query.trim();
  if (!query) return [...list];
  const others = list.filter((one) => one.query !== query || one.language !== asked.language);
  return [{ language: asked.language, query }, ...others].slice(0, HISTORY_MAX);
}

/** The question one step further back (`1`) or forth (`-1`) from where `current` stands; null at an end. */
export function step(list: readonly string[], current: string, by: 1 | -1): string | null {
  const place = list.indexOf(current.trim());
  const next = place + by;
  if (next < -1 || (place === -1 && by === -1)) return null;
  return next === -1 ? "" : (list[next] ?? null);
}

export function readHistory(): Asked[] {
  try {
    const found: unknown = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(found) ? found.filter(isAsked) : [];
  } catch {
    return [];
  }
}

export function remember(asked: Asked): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(remembered(readHistory(), asked)));
  } catch {
    // A full or forbidden storage loses the history, nothing else.
  }
}

function isAsked(value: unknown): value is Asked {
  return typeof value === "object" && value !== null && "query" in value && "language" in value;
}
