/** What a dashboard is: the `spec` of `/api/v1/dashboards`. */
import type { Language } from "@/api/query";
import type { VizSpec } from "@/viz/Visualisation";

export interface Variable {
  name: string;
  label: string;
  /** A search line whose first column holds the values; or the values themselves. */
  query?: string;
  values?: string[];
  multi?: boolean;
  default?: string;
}

export interface Panel extends VizSpec {
  id: string;
  title: string;
  description?: string;
  /** `$name` and `$__bucket` stand for variables and the width of a bucket. */
  query: string;
  language: Language;
}

export interface Place {
  i: string;
  x: number;
  y: number;
  w: number;
  h: number;
}

export interface DashboardSpec {
  variables: Variable[];
  panels: Panel[];
  /** Places by breakpoint, in a grid of 24 columns (12 at `sm`). */
  layouts: { lg: Place[]; md?: Place[]; sm?: Place[] };
  time: { from: string; to: string };
  /** `30s`, `5m`, or null: never by itself. */
  refresh: string | null;
  annotations?: { kinds: ("deployment" | "incident" | "investigation")[] };
}
