/** Figures of fields from the rows in hand, shown until the server's are asked for. */
import { fieldsOf, type LogRow, text } from "../rows/record";

const VALUES_MAX = 500;

export interface FieldFigures {
  name: string;
  /** Rows in hand that have it. */
  rows: number;
  values: Map<string, number>;
}

/** Which fields rows have, and how often each of their values. */
export function figuresOf(rows: Iterable<LogRow>, most: number): { fields: Map<string, FieldFigures>; rows: number } {
  const fields = new Map<string, FieldFigures>();
  let count = 0;
  for (const row of rows) {
    if (count >= most) break;
    count += 1;
    for (const { name, value } of fieldsOf(row)) {
      const figures = fields.get(name) ?? { name, rows: 0, values: new Map<string, number>() };
      figures.rows += 1;
      const key = text(value);
      if (figures.values.has(key) || figures.values.size < VALUES_MAX)
        figures.values.set(key, (figures.values.get(key) ?? 0) + 1);
      fields.set(name, figures);
    }
  }
  return { fields, rows: count };
}

/** Fields that say nothing when counted: nearly each record has its own. */
export const UNIQUE = new Set(["id", "timestamp", "observed", "message", "span_id", "parent_span_id"]);

/** Fields of each record that the list of fields leaves out. */
const OWN = new Set(["id", "template", "context"]);

export interface SidebarField {
  name: string;
  type: string;
  doc: string;
  /** Share of all records that have it, 0 to 1, where it is known. */
  share: number | null;
  distinct: number | null;
  isEstimate: boolean;
  isAttribute: boolean;
}

interface ServerField {
  name: string;
  type: string;
  kind: string;
  doc: string;
  count?: number | null;
  distinct?: number | null;
  distinct_is_estimate?: boolean | null;
  types?: string[] | null;
}

/** The fields to show: those of the server that some record has, and those only the rows in hand know. */
export function sidebarFields(
  server: readonly ServerField[],
  records: number,
  inHand: ReadonlyMap<string, FieldFigures>,
): SidebarField[] {
  const found = new Map<string, SidebarField>();
  for (const field of server) {
    if (field.name === "attributes" || (!field.count && !inHand.has(field.name))) continue;
    found.set(field.name, {
      name: field.name,
      type: field.type === "any" ? (field.types?.[0] ?? "any") : field.type,
      doc: field.doc,
      share: records > 0 ? Math.min(1, (field.count ?? 0) / records) : null,
      distinct: field.distinct ?? null,
      isEstimate: field.distinct_is_estimate ?? false,
      isAttribute: field.kind === "attribute",
    });
  }
  for (const { name } of inHand.values()) {
    if (found.has(name)) continue;
    found.set(name, {
      name,
      type: "any",
      doc: "",
      share: null,
      distinct: null,
      isEstimate: false,
      isAttribute: !OWN.has(name),
    });
  }
  return [...found.values()];
}
