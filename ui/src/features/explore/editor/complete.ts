/** What could stand at the cursor: fields, pipes and functions from `/api/v1/suggest`, values from the records themselves. */
import type { Completion, CompletionContext, CompletionResult } from "@codemirror/autocomplete";
import { startCompletion } from "@codemirror/autocomplete";
import type { EditorView } from "@codemirror/view";
import { client, unwrap } from "@/api/client";
import { ask } from "@/api/query";
import { formatShort } from "@/lib/format";
import type { TimeRange } from "@/lib/time";
import { writeName, writeValue } from "../line/filters";
import { tokenize } from "../line/tokens";

const VALUES_MAX = 20;
const KINDS: Record<string, string> = {
  field: "property",
  attribute: "variable",
  pipe: "keyword",
  function: "function",
  value: "constant",
};
/** Functions that take nothing. */
const COMPLETE = new Set(["count(", "rate("]);

/** Place in a text, in UTF-16 units, of a byte of its UTF-8. */
export function unitsOfByte(text: string, byte: number): number {
  return new TextDecoder().decode(new TextEncoder().encode(text).slice(0, byte)).length;
}

/** The field whose value is being written at the end of a text, and what of the value there is. */
export function valueAt(text: string): { field: string; started: string; from: number; quoted: boolean } | null {
  const tokens = tokenize(text);
  const last = tokens.at(-1);
  if (!last || last.to !== text.length) return null;
  const [sign, value] = last.kind === "operator" ? [last, null] : [tokens.at(-2), last];
  const name = tokens[tokens.indexOf(sign ?? last) - 1];
  if (sign?.kind !== "operator" || !/^(?::|=|!=)$/.test(sign.text) || name?.kind !== "field") return null;
  if (value && (value.from !== sign.to || !["word", "string", "number", "wildcard"].includes(value.kind))) return null;
  const quoted = value?.kind === "string";
  if (quoted && /[^\\]"$/.test(value.text) && value.text.length > 1) return null;
  const started = (value?.text ?? "").replace(/^"/, "").replace(/\\(.)/g, "$1");
  return { field: name.text.replace(/\\(.)/g, "$1"), started, from: value?.from ?? sign.to, quoted };
}

/** Completions of a search line. `range` says where values are looked for. */
export function searchCompletions(range: () => TimeRange) {
  return async (context: CompletionContext): Promise<CompletionResult | null> => {
    const line = context.state.doc.toString();
    const before = line.slice(0, context.pos);
    if (!context.explicit && (before.trim() === "" || /[\s"]$/.test(before)) && !/[|,]\s$/.test(before)) return null;
    const controller = new AbortController();
    context.addEventListener("abort", () => controller.abort());
    const { signal } = controller;
    try {
      const value = valueAt(before);
      if (value && value.field !== "level") return await values(value, range(), signal);
      const page = await unwrap(
        client.GET("/api/v1/suggest", {
          params: { query: { line, cursor: new TextEncoder().encode(before).length } },
          signal,
        }),
      );
      const first = page.items[0];
      if (!first) return null;
      const inPipe = tokenize(before).some((token) => token.kind === "pipe");
      return {
        from: unitsOfByte(line, first.from),
        options: page.items.map((item, index) => ({
          label: item.text,
          type: KINDS[item.kind] ?? "text",
          detail: item.kind === "value" ? undefined : item.kind,
          info: item.doc && item.doc !== item.kind ? item.doc : undefined,
          boost: -index,
          apply: applied(item.kind, item.text, inPipe),
        })),
        validFor: page.items.length < 50 ? /^[\p{L}\p{N}_.@]*$/u : undefined,
      };
    } catch {
      // Completion is a help: without it a line is written all the same.
      return null;
    }
  };
}

function applied(kind: string, text: string, inPipe: boolean): Completion["apply"] {
  if (kind === "pipe") return `${text} `;
  if (kind === "function") return COMPLETE.has(text) ? `${text})` : text;
  if (kind === "value") return `${text} `;
  if (inPipe) return writeName(text);
  return (view: EditorView, _completion: Completion, from: number, to: number): void => {
    const next = view.state.sliceDoc(to, to + 1);
    const insert = /[:=<>!]/.test(next) ? writeName(text) : `${writeName(text)}:`;
    view.dispatch({ changes: { from, to, insert }, selection: { anchor: from + insert.length } });
    startCompletion(view);
  };
}

async function values(
  { field, started, from }: { field: string; started: string; from: number },
  range: TimeRange,
  signal: AbortSignal,
): Promise<CompletionResult | null> {
  const name = writeName(field);
  const condition = started ? `${name}:${started.replace(/[^\p{L}\p{N}_.@-]/gu, "\\$&")}*` : "";
  const answer = await ask({ query: `${condition} | top ${VALUES_MAX} ${name}`, ...range }, signal);
  const options = answer.rows
    .filter(([value]) => value !== null && typeof value !== "object")
    .map(([value, count], index) => ({
      label: String(value),
      type: "constant",
      detail: formatShort(Number(count)),
      boost: -index,
      apply: `${writeValue(String(value))} `,
    }));
  if (options.length === 0) return null;
  return { from, options, filter: false };
}
