/** Conditions put into a search line and taken out of it, written the way the server reads them. */
import type { Cell } from "@/api/query";
import { joined, parts, type Token, tokenize } from "./tokens";

/** Fields on which `:` asks for a word within the value, so that `=` is needed for the whole. */
const WHOLE = new Set(["message", "template", "attributes", "pii_fields", "name"]);
const JOINERS = new Set(["AND", "OR", "NOT", "TO"]);
/** Pipes that only look at records or add to them: a condition on what they make comes after them. */
const RECORD_PIPES = new Set(["where", "eval", "parse", "join", "dedup"]);

/** A field's name as a line takes it: what could be an operator gets a backslash. */
export function writeName(name: string): string {
  return name.replace(/[^\p{L}\p{N}_.@/-]/gu, "\\$&").replace(/^[^\p{L}_@\\]/u, "\\$&");
}

/** A value as a line takes it: quoted unless it is one plain word. */
export function writeValue(value: string): string {
  const plain = /^[\p{L}\p{N}_](?:[\p{L}\p{N}_.:@-]*[\p{L}\p{N}_])?$/u.test(value) && !JOINERS.has(value);
  return plain ? value : `"${value.replace(/["\\]/g, "\\$&")}"`;
}

/** The condition that a field has a value; `null` means that it is absent. */
export function condition(field: string, value: Cell): string {
  if (value === null) return `-exists:${writeName(field)}`;
  if (typeof value === "object") return `${writeName(field)}="${JSON.stringify(value).replace(/["\\]/g, "\\$&")}"`;
  const sign = WHOLE.has(field) ? "=" : ":";
  const text = String(value);
  return `${writeName(field)}${sign}${sign === "=" ? `"${text.replace(/["\\]/g, "\\$&")}"` : writeValue(text)}`;
}

export function negated(text: string): string {
  return text.startsWith("-") ? text.slice(1) : `-${text}`;
}

/** The conditions of a text that all must hold: their places, without the `AND` between them; empty when one of them is
 * joined by `OR`. */
export function conjuncts(text: string): { from: number; to: number; text: string }[] {
  const tokens = tokenize(text);
  if (tokens.some((token) => token.depth === 0 && token.kind === "keyword" && /^(?:OR|\|\|)$/.test(token.text)))
    return [];
  const found: { from: number; to: number; text: string }[] = [];
  let start: number | null = null;
  tokens.forEach((token, index) => {
    const next = tokens[index + 1];
    if (token.depth === 0 && token.kind === "keyword" && /^(?:AND|&&)$/.test(token.text)) return;
    start ??= token.from;
    const closes = token.depth === 0 && token.kind === "bracket" && token.text === ")";
    if (token.depth > 0 && !closes) return;
    if (!closes && isOpen(token, next)) return;
    found.push({ from: start, to: token.to, text: text.slice(start, token.to) });
    start = null;
  });
  if (start !== null) found.push({ from: start, to: text.length, text: text.slice(start) });
  return found;
}

/** Whether a condition goes on behind the token. */
function isOpen(token: Token, next: Token | undefined): boolean {
  if (token.kind === "not" || (token.kind === "keyword" && token.text === "NOT")) return next !== undefined;
  return next !== undefined && next.from === token.to && token.text !== ")";
}

/** The line with a condition that must hold too. One that is there already is not repeated, its contrary is taken out.
 * `late` says that the field is made by a pipe, so that the condition must stand behind it. */
export function withCondition(line: string, added: string, late = false): string {
  const { conditions, stages } = parts(line);
  if (late) {
    const place = stages.findIndex((stage) => !RECORD_PIPES.has(stage.name));
    const at = place < 0 ? stages.length : place;
    const text = `where ${added}`;
    if (stages.some((stage) => stage.text === text)) return line;
    return joined({ conditions, stages: [...stages.slice(0, at), { text }, ...stages.slice(at)] });
  }
  const held = conjuncts(conditions);
  if (held.some((one) => one.text === added)) return joined({ conditions, stages });
  const contrary = negated(added);
  const kept = held.filter((one) => one.text !== contrary && one.text !== "*").map((one) => one.text);
  const before = held.length > 0 ? kept.join(" ") : conditions === "" ? "" : `(${conditions})`;
  return joined({ conditions: before ? `${before} ${added}` : added, stages });
}

/** The line without one of its conditions. */
export function withoutCondition(line: string, removed: string): string {
  const { conditions, stages } = parts(line);
  const kept = conjuncts(conditions).filter((one) => one.text !== removed);
  return joined({ conditions: kept.map((one) => one.text).join(" "), stages });
}
