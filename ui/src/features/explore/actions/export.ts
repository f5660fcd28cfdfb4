/** Answers as files: asked for in the format, read with progress, never more than was agreed. */
import { request } from "@/api/client";
import type { Language } from "@/api/query";
import type { TimeRange } from "@/lib/time";

export type Format = "csv" | "ndjson" | "parquet";

export const FORMATS: Record<Format, { accept: string; label: string; hint: string }> = {
  csv: { accept: "text/csv", label: "CSV", hint: "for spreadsheets" },
  ndjson: { accept: "application/x-ndjson", label: "NDJSON", hint: "one object a line" },
  parquet: { accept: "application/vnd.apache.parquet", label: "Parquet", hint: "for pandas, polars, DuckDB" },
};

/** The most rows the server answers with. */
export const EXPORT_ROWS_MAX = 100_000;
/** Bytes held for a file; a browser keeps it in memory until it is saved. */
const EXPORT_BYTES_MAX = 512 * 1024 * 1024;

export interface ExportRequest {
  query: string;
  language: Language;
  range: TimeRange;
  limit: number;
  format: Format;
}

export interface Exported {
  bytes: number;
  /** Something is missing, as the server says. */
  isPartial: boolean;
}

/** Reads the answer and gives it to the browser as a file. */
export async function exportRows(
  { query, language, range, limit, format }: ExportRequest,
  onBytes: (bytes: number) => void,
  signal: AbortSignal,
): Promise<Exported> {
  const response = await request("/api/v1/query", {
    method: "POST",
    body: JSON.stringify({ query, language, ...range, limit }),
    headers: { "Content-Type": "application/json", Accept: FORMATS[format].accept },
    signal,
  });
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let bytes = 0;
  const reader = response.body?.getReader();
  while (reader) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value as Uint8Array<ArrayBuffer>);
    bytes += value.length;
    onBytes(bytes);
    if (bytes > EXPORT_BYTES_MAX) {
      await reader.cancel();
      throw new Error("the file is larger than 512 MiB: choose fewer rows or columns");
    }
  }
  save(new Blob(parts, { type: FORMATS[format].accept }), fileName(format, new Date()));
  return { bytes, isPartial: response.headers.get("heimdall-partial") === "true" };
}

/** `heimdall-20260102-030405.csv` */
export function fileName(format: Format, now: Date): string {
  const stamp = now.toISOString().replace(/[-:]/g, "").replace("T", "-").slice(0, 15);
  return `heimdall-${stamp}.${format}`;
}

function save(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  // The browser has taken it up by then.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
