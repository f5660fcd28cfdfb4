/** What a dashboard is: the `spec` of `/api/v1/dashboards`. The server keeps it as it comes and checks its shape. */
import type { VizKind, VizSpec } from "@/viz/Visualisation";

/** A choice of the reader; stands in queries as `$name`. */
export interface Variable {
  /** Letters, digits and `_`. */
  name: string;
  label: string;
  /** A search line whose first column holds the values; or the values themselves. */
  query?: string;
  values?: string[];
  multi?: boolean;
  /** What is chosen at first: a value, several, or null for all. A variable of one value has no all: then the first is. */
  default?: string | string[] | null;
}

export type PanelLanguage = "search" | "sql";

export interface Panel extends VizSpec {
  id: string;
  title: string;
  description?: string;
  /** `$name` stands for a variable, `$__bucket` for the width of a bucket, `$__from` and `$__to` for the ends of the range.
   * Empty for a text. */
  query: string;
  language: PanelLanguage;
}

export interface Place {
  i: string;
  x: number;
  y: number;
  w: number;
  h: number;
}

export type AnnotationKind = "deployment" | "incident" | "investigation";
export const ANNOTATION_KINDS: AnnotationKind[] = ["deployment", "incident", "investigation"];

export interface DashboardSpec {
  variables: Variable[];
  panels: Panel[];
  /** Places by breakpoint: 24 columns at `lg` and `md`, 12 at `sm`. Those left out follow from `lg`. */
  layouts: { lg: Place[]; md?: Place[]; sm?: Place[] };
  time: { from: string; to: string };
  /** `30s`, `5m`, or null: never by itself. */
  refresh: string | null;
  annotations?: { kinds: AnnotationKind[] };
}

/** What people say of a dashboard, and what it shows: what is written, exported and imported. */
export interface DashboardContent {
  title: string;
  description: string;
  tags: string[];
  folder: string;
  spec: DashboardSpec;
}

export interface Dashboard extends DashboardContent {
  id: string;
  built_in: boolean;
  revision: number;
  created_by: string;
  created_at: string | null;
  updated_by: string;
  updated_at: string | null;
}

export type DashboardSummary = Omit<Dashboard, "spec"> & { panels: number };

export const PANELS_MAX = 100;
export const VARIABLES_MAX = 20;
export const SPEC_BYTES_MAX = 256 * 1024;
export const REFRESHES = ["10s", "30s", "1m", "5m", "15m", "1h"];

export const VIZ_KINDS: { value: VizKind; label: string; w: number; h: number }[] = [
  { value: "line", label: "Lines", w: 12, h: 8 },
  { value: "area", label: "Areas", w: 12, h: 8 },
  { value: "bar", label: "Bars", w: 12, h: 8 },
  { value: "number", label: "Number", w: 6, h: 5 },
  { value: "top", label: "Top list", w: 8, h: 8 },
  { value: "table", label: "Table", w: 12, h: 9 },
  { value: "heatmap", label: "Heatmap", w: 14, h: 9 },
  { value: "pie", label: "Ring", w: 8, h: 8 },
  { value: "text", label: "Text", w: 8, h: 6 },
];

/** An empty dashboard. */
export function emptySpec(): DashboardSpec {
  return {
    variables: [],
    panels: [],
    layouts: { lg: [] },
    time: { from: "now-3h", to: "now" },
    refresh: null,
    annotations: { kinds: ANNOTATION_KINDS },
  };
}

/** A short id that no panel has. */
export function freshId(taken: Iterable<string>, base = "panel"): string {
  const known = new Set(taken);
  let nth = known.size + 1;
  while (known.has(`${base}-${nth}`)) nth += 1;
  return `${base}-${nth}`;
}

/** Milliseconds of `30s`, `5m`, `1h`, `1d`; null for what is none. */
export function durationMs(text: string | null | undefined): number | null {
  const found = /^(\d+)(ms|s|m|h|d|w)$/.exec(text?.trim() ?? "");
  if (!found) return null;
  const units: Record<string, number> = { ms: 1, s: 1e3, m: 6e4, h: 36e5, d: 864e5, w: 6048e5 };
  return Number(found[1]) * (units[found[2] ?? ""] ?? 0);
}

/** Width of the buckets that a query itself names: `timechart 5m`, `bin(1h)`. */
export function bucketIn(query: string): number | null {
  const found = /(?:timechart|rate)\s+(?:span=)?(\d+[smhdw])\b|bin\(\s*(?:timestamp\s*,\s*)?(\d+[smhdw])\s*\)/.exec(
    query,
  );
  return found ? durationMs(found[1] ?? found[2]) : null;
}
