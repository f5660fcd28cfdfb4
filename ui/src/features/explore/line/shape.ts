/** What a search line answers with, and the lines that follow from it: its histogram, its patterns, its top values. */

import { writeName } from "./filters";
import { joined, type Parts, parts } from "./tokens";

/** Pipes after which rows are no records any more. */
const AGGREGATING = new Set(["stats", "top", "rare", "timechart", "rate", "patterns"]);
/** Pipes that choose, order or show records, and so say nothing about how many there are. */
const SHOWING = new Set(["fields", "sort"]);
/** Pipes that keep each record by itself, so that a count after them is a count of records. */
const COUNTABLE = new Set(["where", "eval", "parse", ...SHOWING]);

export type Shape =
  /** Records as they come, any number of them: paged by time. */
  | "stream"
  /** Records in an order or number of the line's own: one answer. */
  | "list"
  /** Rows that are no records. */
  | "table";

/** What the answer of a search line is. */
export function shapeOf(line: string): Shape {
  const { stages } = parts(line);
  if (stages.some((stage) => AGGREGATING.has(stage.name))) return "table";
  return stages.every((stage) => COUNTABLE.has(stage.name) && isByTime(stage.text)) ? "stream" : "list";
}

/** Whether a `sort` is one by time alone, which paging keeps. */
function isByTime(text: string): boolean {
  return !text.startsWith("sort") || /^sort\s+-?\s*timestamp(?:\s+(?:asc|desc))?$/.test(text);
}

/** The order a line asks for by itself, if any. */
export function orderOf(line: string): "newest" | "oldest" | null {
  const sort = parts(line).stages.find((stage) => stage.name === "sort");
  if (!sort || !isByTime(sort.text)) return null;
  return /-|desc/.test(sort.text) ? "newest" : "oldest";
}

/** Columns a line asks for by `fields`, if it does. */
export function columnsOf(line: string): string[] | null {
  const stage = parts(line).stages.findLast((one) => one.name === "fields");
  if (!stage || /^fields\s+-/.test(stage.text)) return null;
  return stage.text
    .replace(/^fields\s+/, "")
    .split(",")
    .map((name) => name.trim().replace(/\\(.)/g, "$1"))
    .filter(Boolean);
}

function without({ conditions, stages }: Parts, names: ReadonlySet<string>): Parts {
  return { conditions, stages: stages.filter((stage) => !names.has(stage.name)) };
}

/** The line that finds the same records whole: columns and order are ours to choose. */
export function recordsLine(line: string, order: "newest" | "oldest" = "newest"): string {
  const kept = without(parts(line), SHOWING);
  return joined(order === "oldest" ? { ...kept, stages: [...kept.stages, { text: "sort timestamp" }] } : kept);
}

/** The line with another pipe behind its records: `timechart 1m count() by level`, `patterns 100`. What chooses, orders or
 * aggregates is left out, for it would not speak of the records any more. */
export function aboutRecords(line: string, pipe: string): string {
  const { conditions, stages } = parts(line);
  const end = stages.findIndex((stage) => AGGREGATING.has(stage.name));
  const records = end < 0 ? stages : stages.slice(0, end);
  const kept = records.filter((stage) => !SHOWING.has(stage.name));
  return joined({ conditions, stages: [...kept, { text: pipe }] });
}

/** The line that counts the values of a field. */
export function topLine(line: string, field: string, count: number): string {
  return aboutRecords(line, `top ${count} ${writeName(field)}`);
}

/** The conditions alone: what live tail takes. Null when pipes narrow the records too, which it cannot follow. */
export function tailLine(line: string): { query: string; dropped: string[] } {
  const { conditions, stages } = parts(line);
  return { query: conditions, dropped: stages.map((stage) => stage.name) };
}
