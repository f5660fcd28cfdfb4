/** A record as it came: its cells, and where its page keeps which field. */
import type { Cell, Column } from "@/api/query";

/** Places of fields in the rows of one page. Pages differ: a field that no record of a page has is left out of it. */
export type Layout = ReadonlyMap<string, number>;

export interface LogRow {
  readonly cells: readonly Cell[];
  readonly layout: Layout;
}

export function layoutOf(columns: readonly Column[]): Layout {
  return new Map(columns.map((column, index) => [column.name, index]));
}

export function rowsOf(columns: readonly Column[], rows: readonly Cell[][]): LogRow[] {
  const layout = layoutOf(columns);
  return rows.map((cells) => ({ cells, layout }));
}

/** A record given as an object (live tail). */
export function rowOfObject(record: { [key: string]: Cell }): LogRow {
  const names = Object.keys(record);
  return {
    cells: Object.values(record),
    layout: new Map(names.map((name, index) => [name, index])),
  };
}

/** The value of a field: one of the record's own, or one of its attributes by key or path. */
export function fieldOf(row: LogRow, name: string): Cell {
  const own = row.layout.get(name);
  if (own !== undefined) return row.cells[own] ?? null;
  const at = row.layout.get("attributes");
  const attributes = at === undefined ? null : row.cells[at];
  return isObject(attributes) ? inside(attributes, name.replace(/^attributes\./, "")) : null;
}

function inside(object: { [key: string]: Cell }, path: string): Cell {
  const direct = object[path];
  if (direct !== undefined) return direct;
  for (let dot = path.indexOf("."); dot > 0; dot = path.indexOf(".", dot + 1)) {
    const next = object[path.slice(0, dot)];
    if (isObject(next)) {
      const found = inside(next, path.slice(dot + 1));
      if (found !== null) return found;
    }
  }
  return null;
}

function isObject(value: Cell | undefined): value is { [key: string]: Cell } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export interface FieldValue {
  name: string;
  value: Cell;
}

/** Every field a record has, attributes under the names they are asked for by. */
export function fieldsOf(row: LogRow): FieldValue[] {
  const found: FieldValue[] = [];
  for (const [name, index] of row.layout) {
    const value = row.cells[index];
    if (value === null || value === undefined || name === "attributes") continue;
    found.push({ name, value });
  }
  const at = row.layout.get("attributes");
  const attributes = at === undefined ? null : row.cells[at];
  if (isObject(attributes)) flatten(attributes, "", found, row.layout);
  return found;
}

function flatten(object: { [key: string]: Cell }, prefix: string, found: FieldValue[], own: Layout): void {
  for (const [key, value] of Object.entries(object)) {
    const name = `${prefix}${key}`;
    if (isObject(value)) flatten(value, `${name}.`, found, own);
    else if (value !== null) found.push({ name: own.has(name) ? `attributes.${name}` : name, value });
  }
}

/** The record as one object, for copying and the JSON view. */
export function objectOf(row: LogRow): { [key: string]: Cell } {
  const object: { [key: string]: Cell } = {};
  for (const [name, index] of row.layout) {
    const value = row.cells[index];
    if (value !== null && value !== undefined) object[name] = value;
  }
  return object;
}

export function idOf(row: LogRow): string {
  return text(fieldOf(row, "id"));
}

/** Milliseconds of a record's event time. */
export function msOf(row: LogRow): number {
  return Date.parse(text(fieldOf(row, "timestamp")));
}

/** A cell as one line of text; empty for nothing. */
export function text(value: Cell | undefined): string {
  if (value === null || value === undefined) return "";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
