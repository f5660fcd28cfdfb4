/** What of a message the search line asked for: the words, phrases and patterns in front of its pipes. */
import { parts, tokenize } from "../line/tokens";

const MARKED_MAX = 20;

/** A pattern that matches what was asked for in messages; null when nothing was. */
export function markerOf(line: string): RegExp | null {
  const { conditions } = parts(line);
  const tokens = tokenize(conditions);
  const sources: string[] = [];
  tokens.forEach((token, index) => {
    const before = tokens[index - 1];
    const glued = before?.to === token.from;
    if (
      before &&
      glued &&
      (before.kind === "not" || (before.kind === "operator" && !isMessage(tokens[index - 2]?.text)))
    )
      return;
    if (before?.kind === "keyword" && before.text === "NOT") return;
    const source = sourceOf(token.kind, token.text);
    if (source && token.depth === 0) sources.push(source);
  });
  if (sources.length === 0) return null;
  try {
    return new RegExp(sources.slice(0, MARKED_MAX).join("|"), "giu");
  } catch {
    // The server's regular expressions are not quite the browser's: then nothing is marked.
    return null;
  }
}

function isMessage(name: string | undefined): boolean {
  return name === "message";
}

function sourceOf(kind: string, text: string): string | null {
  const plain = (words: string): string => words.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
  if (kind === "word" || kind === "number")
    return `\\b${plain(text.replace(/\\(.)/g, "$1"))}\\b`.replace(/\\b(?=\\)/g, "");
  if (kind === "string") {
    const inner = text.replace(/^"|"$/g, "").replace(/\\(["\\])/g, "$1");
    return inner ? plain(inner) : null;
  }
  if (kind === "wildcard") {
    if (/^\*+$/.test(text)) return null;
    return text
      .replace(/[.+^${}()|[\]\\/]/g, "\\$&")
      .replace(/\*/g, "\\S*")
      .replace(/\?/g, "\\S");
  }
  if (kind === "regex") return text.replace(/^\//, "").replace(/\/i?$/, "");
  return null;
}

/** A text in pieces, every other one marked; the first is not. */
export function marked(text: string, marker: RegExp | null): string[] {
  if (!marker) return [text];
  const pieces: string[] = [];
  let end = 0;
  marker.lastIndex = 0;
  for (let found = marker.exec(text); found && pieces.length < 2 * MARKED_MAX; found = marker.exec(text)) {
    if (found[0] === "") {
      marker.lastIndex += 1;
      continue;
    }
    pieces.push(text.slice(end, found.index), found[0]);
    end = found.index + found[0].length;
  }
  pieces.push(text.slice(end));
  return pieces;
}
