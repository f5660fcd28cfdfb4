/** Which picture an answer wants, and the line behind a picture of records. */
import type { Answer } from "@/api/query";
import type { VizKind } from "@/viz/Visualisation";
import { writeName } from "../line/filters";
import { aboutRecords } from "../line/shape";

export const KINDS: readonly VizKind[] = ["table", "line", "area", "bar", "top", "heatmap", "number"];

const NUMBERS = new Set(["int", "float", "number"]);

/** The picture that shows an answer best, by the types of its columns. */
export function kindFor(answer: Pick<Answer, "columns" | "rows">): VizKind {
  const times = answer.columns.filter((column) => column.type === "time");
  const numbers = answer.columns.filter((column) => NUMBERS.has(column.type));
  const others = answer.columns.length - times.length - numbers.length;
  if (numbers.length === 0) return "table";
  if (answer.rows.length === 1 && times.length === 0 && others === 0 && numbers.length === 1) return "number";
  if (times.length === 1 && others <= 1 && answer.rows.length > 1) return "line";
  if (times.length === 0 && others === 1 && numbers.length === 1 && answer.rows.length > 1) return "top";
  return "table";
}

/** What is computed of records. */
export interface Builder {
  fn: string;
  field: string;
  by: string;
  shape: "time" | "top";
}

export const FUNCTIONS = ["count", "dc", "avg", "sum", "min", "max", "p50", "p95", "p99", "rate"] as const;
/** Functions that take no field. */
export const PLAIN = new Set(["count", "rate"]);
const TOP_ROWS = 20;

/** The line that computes it. */
export function builtLine(line: string, { fn, field, by, shape }: Builder, span: string): string {
  const call = PLAIN.has(fn) ? `${fn}()` : `${fn}(${writeName(field)})`;
  const group = by ? ` by ${writeName(by)}` : "";
  if (shape === "time") return aboutRecords(line, `timechart ${span} ${call}${group}`);
  return `${aboutRecords(line, `stats ${call} as value${group}`)} | sort -value | limit ${TOP_ROWS}`;
}
