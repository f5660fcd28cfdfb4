/** Dashboards found by words, tags and folders. */
import type { DashboardSummary } from "./spec";

export interface Wanted {
  text: string;
  tag?: string;
  folder?: string;
}

/** Those that hold every word, by title; built-in ones first among equals. */
export function found(all: DashboardSummary[], wanted: Wanted): DashboardSummary[] {
  const words = wanted.text.toLowerCase().split(/\s+/).filter(Boolean);
  return all
    .filter((one) => {
      const text = [one.title, one.description, one.folder, ...one.tags].join("\n").toLowerCase();
      return (
        words.every((word) => text.includes(word)) &&
        (!wanted.tag || one.tags.includes(wanted.tag)) &&
        (!wanted.folder || one.folder === wanted.folder)
      );
    })
    .sort(
      (a, b) => Number(b.built_in) - Number(a.built_in) || a.title.localeCompare(b.title, undefined, { numeric: true }),
    );
}

/** Tags in use, those of most dashboards first. */
export function tagsOf(all: DashboardSummary[]): string[] {
  const counts = new Map<string, number>();
  for (const one of all) for (const tag of one.tags) counts.set(tag, (counts.get(tag) ?? 0) + 1);
  return [...counts].sort(([a, n], [b, m]) => m - n || a.localeCompare(b)).map(([tag]) => tag);
}

export function foldersOf(all: DashboardSummary[]): string[] {
  return [...new Set(all.map((one) => one.folder).filter(Boolean))].sort((a, b) => a.localeCompare(b));
}
