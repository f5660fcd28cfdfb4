/** Variables in queries. What is chosen is a value, never a piece of the query: it is quoted for the language it stands in.
 *
 *     service:$service level>=error | timechart $__bucket count()
 *     service:("EDGE LB" OR CART-API) level>=error | timechart 5m count()
 */
import { toRfc3339 } from "@/lib/time";
import type { PanelLanguage } from "./spec";

/** What is chosen of a variable; `all` narrows nothing. */
export interface Chosen {
  all: boolean;
  values: string[];
}

export interface Context {
  variables: Record<string, Chosen>;
  bucket: { span: string; ms: number };
  range: { from: number; to: number };
}

export interface Interpolated {
  query: string;
  /** What cannot stand where it stands, in words. */
  mistakes: string[];
}

const NAME = /\$(?:\{(\w+)(?::(raw))?\}|(\w+))/y;
const BARE = /^\w[\w.-]*$/;
const WORDS = new Set(["AND", "OR", "NOT", "TO"]);

/** A value in a search line: bare where it is a plain word, else in quotes. */
export function quoteSearch(value: string): string {
  if (BARE.test(value) && !WORDS.has(value)) return value;
  return `"${value.replace(/[\\"]/g, "\\$&")}"`;
}

/** A value in a statement. */
export function quoteSql(value: string): string {
  return `'${value.replaceAll("'", "''")}'`;
}

/** Puts what is chosen into a query. Names that are no variables stay as they are (`$1` of a replacement). */
export function interpolate(query: string, language: PanelLanguage, context: Context): Interpolated {
  const mistakes: string[] = [];
  const text = withoutAll(query, language, context);
  let out = "";
  let quote = "";
  for (let at = 0; at < text.length; ) {
    const char = text[at] as string;
    if (char === "$") {
      NAME.lastIndex = at;
      const found = NAME.exec(text);
      const name = found?.[1] ?? found?.[3];
      if (found && name) {
        const raw = found[2] === "raw";
        const inParens = /\(\s*$/.test(out) && /^\s*\)/.test(text.slice(NAME.lastIndex));
        const value = valueFor(name, { language, quote, raw, inParens }, context, mistakes);
        out += value ?? found[0];
        at = NAME.lastIndex;
        continue;
      }
    }
    if (quote) {
      // A backslash escapes in a search line; in SQL a doubled quote does, which reads as closing and opening again.
      if (char === "\\" && language === "search") {
        out += text.slice(at, at + 2);
        at += 2;
        continue;
      }
      if (char === quote) quote = "";
    } else if (char === '"' || (char === "'" && language === "sql")) quote = char;
    out += char;
    at += 1;
  }
  return { query: out, mistakes };
}

/** A condition on a variable of which all is chosen is no condition. */
function withoutAll(query: string, language: PanelLanguage, context: Context): string {
  let text = query;
  for (const [name, chosen] of Object.entries(context.variables)) {
    if (!chosen.all) continue;
    const variable = `\\$(?:\\{${name}\\}|${name}\\b)`;
    text =
      language === "sql"
        ? text.replace(
            new RegExp(`[\\w."]+\\s+in\\s*\\(\\s*${variable}\\s*\\)|[\\w."]+\\s*=\\s*${variable}`, "gi"),
            "true",
          )
        : text.replace(
            new RegExp(`(?<![\\w.])[\\w.@]+\\s*[:=]\\s*(?:\\(\\s*${variable}\\s*\\)|${variable})`, "g"),
            "*",
          );
  }
  return text;
}

function valueFor(
  name: string,
  place: { language: PanelLanguage; quote: string; raw: boolean; inParens: boolean },
  context: Context,
  mistakes: string[],
): string | null {
  const sql = place.language === "sql";
  if (name === "__bucket") {
    if (place.quote || place.raw || !sql) return context.bucket.span;
    return `interval '${context.bucket.ms / 1000} seconds'`;
  }
  if (name === "__from" || name === "__to") {
    const at = toRfc3339(name === "__from" ? context.range.from : context.range.to);
    return place.quote || !sql ? at : `timestamp '${at}'`;
  }
  const chosen = context.variables[name];
  if (!chosen) return null;
  const { values } = chosen;
  if (place.raw) {
    const bad = values.find((value) => !/^[\w.@]+$/.test(value));
    if (bad === undefined && values.length > 0) return values.join(", ");
    mistakes.push(`\`\${${name}:raw}\` takes names only, and \`${bad ?? "all"}\` is none`);
    return "";
  }
  if (place.quote) {
    if (values.length === 1 && !chosen.all) {
      const [value] = values as [string];
      return sql ? value.replaceAll("'", "''") : value.replace(/[\\"]/g, "\\$&");
    }
    mistakes.push(`\`$${name}\` stands in quotes, where only one value can`);
    return "";
  }
  if (chosen.all && !sql) return "*";
  if (values.length === 0) {
    mistakes.push(`\`$${name}\` has no values; write \`column in ($${name})\`, which is left out for all`);
    return sql ? "null" : "*";
  }
  if (sql) return values.map(quoteSql).join(", ");
  if (values.length === 1) return quoteSearch(values[0] ?? "");
  const list = values.map(quoteSearch).join(" OR ");
  return place.inParens ? list : `(${list})`;
}

/** Variables in a text for people: titles, descriptions, text panels. */
export function interpolateText(text: string, context: Context): string {
  return text.replace(/\$(?:\{(\w+)(?::raw)?\}|(\w+))/g, (whole, braced?: string, plain?: string) => {
    const name = braced ?? plain ?? "";
    if (name === "__bucket") return context.bucket.span;
    const chosen = context.variables[name];
    if (!chosen) return whole;
    return chosen.all ? "all" : chosen.values.join(", ");
  });
}

/** What is chosen, as it stands in the URL: values with commas between, `*` for all. */
export function writeChosen(chosen: Chosen): string {
  if (chosen.all) return "*";
  return chosen.values.map((value) => (value === "*" ? "\\*" : value.replace(/[\\,]/g, "\\$&"))).join(",");
}

/** Reads what is chosen from the URL. */
export function readChosen(text: string, multi: boolean): Chosen {
  if (text === "*" && multi) return { all: true, values: [] };
  const values: string[] = [];
  let value = "";
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at] as string;
    if (char === "\\" && at + 1 < text.length) {
      at += 1;
      value += text[at];
    } else if (char === "," && multi) {
      values.push(value);
      value = "";
    } else value += char;
  }
  values.push(value);
  return { all: false, values: values.filter((one) => one !== "") };
}
