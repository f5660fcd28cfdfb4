/** Any answer drawn in any way: Explore, dashboards and pages of services draw with this and nothing else. */
import type { Answer } from "@/api/query";
import type { Unit } from "@/lib/format";

export type VizKind = "line" | "area" | "bar" | "table" | "top" | "heatmap" | "number" | "pie" | "text";

export interface Threshold {
  value: number;
  tone: "ok" | "warning" | "critical";
}

export interface VizSpec {
  viz: VizKind;
  unit?: Unit;
  thresholds?: Threshold[];
  stacked?: boolean;
  legend?: boolean;
  /** Columns by role; those left out are found by type: the first time is x, numbers are values, the rest tell series apart. */
  x?: string;
  values?: string[];
  series?: string[];
  /** Text of a `text` panel, Markdown. */
  text?: string;
}

export interface VisualisationProps {
  answer: Answer;
  spec: VizSpec;
  label: string;
  height?: number | string;
  /** Marks drawn over a time axis. */
  marks?: { at: number; until?: number | null; text: string; tone?: "critical" | "warning" | "info" }[];
  onSelectRange?: (fromMs: number, toMs: number) => void;
  /** A value of a text column was clicked: filter by it. */
  onSelectValue?: (column: string, value: string) => void;
}

/** Draws an answer. */
export function Visualisation({ answer }: VisualisationProps) {
  return <div>{answer.rows.length} rows</div>;
}
