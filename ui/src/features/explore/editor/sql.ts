/** SQL in the editor: the dialect and the names of its tables. Loaded when SQL is first written. */
import type { Extension } from "@codemirror/state";
import { client, unwrap } from "@/api/client";

const TABLES: Record<string, string[]> = {
  metrics: ["timestamp", "observed", "service", "name", "value", "labels", "host", "id"],
  alerts: [
    ..."id raised_at first_seen last_seen rule detector title summary severity priority status".split(" "),
    ..."entity_kind entity service count score fingerprint".split(" "),
  ],
  audit: "seq at principal tenant action target outcome detail source_ip hash".split(" "),
};

/** SQL with completion of tables, their columns and our own functions. */
export async function sqlSupport(): Promise<Extension> {
  const [{ sql, PostgreSQL }, columns] = await Promise.all([import("@codemirror/lang-sql"), logColumns()]);
  const functions = [
    { label: "attr", type: "function", detail: "function", info: "attr(attributes, 'http.status'): a value as text" },
    { label: "attr_number", type: "function", detail: "function", info: "attr_number(attributes, 'http.status')" },
    { label: "level_number", type: "function", detail: "function", info: "1 for trace … 6 for fatal" },
    { label: "date_bin", type: "function", detail: "function", info: "date_bin(interval '5 minutes', timestamp)" },
  ];
  return sql({
    dialect: PostgreSQL,
    defaultTable: "logs",
    upperCaseKeywords: false,
    schema: { logs: [...columns, ...functions], ...TABLES },
  });
}

async function logColumns(): Promise<{ label: string; type: string; detail: string; info?: string }[]> {
  try {
    const page = await unwrap(client.GET("/api/v1/fields", {}));
    return page.items
      .filter((field) => field.kind === "schema")
      .map((field) => ({ label: field.name, type: "property", detail: field.type, info: field.doc || undefined }));
  } catch {
    return [];
  }
}
