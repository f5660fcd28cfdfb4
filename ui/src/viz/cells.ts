/** Cells of an answer as numbers, times and text. Integers beyond 2^53 arrive as text and stay exact wherever they are shown;
 * only where they become the height of a bar are they rounded. */
import type { Cell, Column } from "@/api/query";
import { formatNumber, formatUnit, type Unit } from "@/lib/format";
import { formatTime, type Precision } from "@/lib/time";

const NUMBERS = new Set(["int", "float", "number", "uint", "double"]);
const NUMERIC = /^-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
const FRACTION = /^(.+T\d{2}:\d{2}:\d{2})\.(\d+)(Z|[+-]\d{2}:?\d{2})$/;

/** Whether the server says that a column holds numbers. */
export function isNumberType(type: string): boolean {
  return NUMBERS.has(type);
}

/** A cell as a number to draw; null for what is none. */
export function toNumber(cell: Cell | undefined): number | null {
  if (typeof cell === "number") return Number.isFinite(cell) ? cell : null;
  if (typeof cell === "string" && NUMERIC.test(cell)) return Number(cell);
  return null;
}

/** RFC 3339 as milliseconds since the epoch, with what is below a millisecond as the fraction (exact to about 0.25 µs). */
export function toMs(cell: Cell | undefined): number | null {
  if (typeof cell === "number") return Number.isFinite(cell) ? cell : null;
  if (typeof cell !== "string") return null;
  const parts = FRACTION.exec(cell);
  const at = parts ? Date.parse(`${parts[1]}${parts[3]}`) : Date.parse(cell);
  if (Number.isNaN(at)) return null;
  return parts ? at + Number(`0.${parts[2]}`) * 1000 : at;
}

/** A cell as the name of a series or a category. */
export function toName(cell: Cell | undefined): string {
  if (cell === null || cell === undefined || cell === "") return "(none)";
  return typeof cell === "object" ? JSON.stringify(cell) : String(cell);
}

/** A cell as text to read: times in the zone, numbers in their unit, objects as JSON. */
export function formatCell(
  cell: Cell | undefined,
  column: Column,
  options: { zone: string; unit?: Unit; precision?: Precision },
): string {
  if (cell === null || cell === undefined) return "–";
  if (column.type === "time" && typeof cell === "string")
    return formatTime(cell, options.zone, options.precision ?? "ms");
  if (typeof cell === "number") return formatValue(cell, options.unit);
  if (typeof cell === "string" && column.type === "int" && /^-?\d+$/.test(cell)) return formatNumber(BigInt(cell));
  return typeof cell === "object" ? JSON.stringify(cell) : String(cell);
}

/** A value in its unit; without one, with all its digits as far as they matter. */
export function formatValue(value: number, unit: Unit | undefined): string {
  // Close to the whole, what is missing is what counts: 99.9 % and 99.95 % are different promises.
  const percent = unit === "percent" ? value : unit === "share" ? value * 100 : 0;
  if (percent > 99 && percent < 100) return `${Number(percent.toFixed(3))} %`;
  if (unit && unit !== "none") return formatUnit(value, unit);
  if (Number.isInteger(value)) return formatNumber(value);
  return Math.abs(value) >= 1000 ? formatNumber(value) : String(Number(value.toPrecision(4)));
}
