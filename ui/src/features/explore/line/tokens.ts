/** The words of a search line: what is coloured, and where its pipes are.
 *
 * Reads the way the server does (quotes, regular expressions, escapes), but never fails: a half-written line is the usual
 * case in an editor. What is wrong with a line is for the server to say. */

export type TokenKind =
  | "pipe"
  | "command"
  | "field"
  | "operator"
  | "not"
  | "keyword"
  | "function"
  | "string"
  | "regex"
  | "number"
  | "wildcard"
  | "bracket"
  | "comma"
  | "word";

export interface Token {
  kind: TokenKind;
  /** Places in the line, in UTF-16 units; `to` is after the last. */
  from: number;
  to: number;
  text: string;
  /** How many parentheses are open around it. */
  depth: number;
}

const NAME = /(?:[\p{L}_@]|\\.)(?:[\p{L}\p{N}_.@/-]|\\.)*/uy;
const OPERATOR = /:|!=|>=|<=|==|=|>|</y;
const NUMBER = /^-?\d+(?:\.\d+)?(?:e\d+)?(?:ns|us|µs|ms|s|m|h|d|w)?$/i;
const STRING = /"(?:[^"\\]|\\.)*"?/sy;
const REGEX = /\/(?:[^/\\\n]|\\.)+\/i?(?=[\s)|]|$)/y;
const BARE = /(?:[^\s()|"\\,]|\\.)+/sy;
const RANGE = /[[{][^\]}|]*[\]}]?/y;
const SPACE = /\s+/y;
const JOINERS = new Set(["AND", "OR", "NOT", "TO"]);
const PIPE_WORDS = new Set(["by", "as", "asc", "desc", "on", "and", "or", "not", "span"]);

function at(pattern: RegExp, text: string, index: number): string | null {
  pattern.lastIndex = index;
  return pattern.exec(text)?.[0] ?? null;
}

/** The tokens of a line, in order; white space lies between them. */
export function tokenize(line: string): Token[] {
  const tokens: Token[] = [];
  let index = 0;
  let depth = 0;
  /** Whether a pipe's name comes next, and whether we are behind one. */
  let wantsCommand = false;
  const behindPipe: boolean[] = [false];
  const push = (kind: TokenKind, length: number): void => {
    tokens.push({ kind, from: index, to: index + length, text: line.slice(index, index + length), depth });
    index += length;
  };
  while (index < line.length) {
    const space = at(SPACE, line, index);
    if (space) {
      index += space.length;
      continue;
    }
    const char = line[index] as string;
    const before = tokens.at(-1);
    const glued = before?.to === index;
    if (line.startsWith("||", index) || line.startsWith("&&", index)) push("keyword", 2);
    else if (char === "|") {
      push("pipe", 1);
      wantsCommand = true;
      behindPipe[depth] = true;
      continue;
    } else if (char === "(") {
      push("bracket", 1);
      depth += 1;
      behindPipe[depth] = behindPipe[depth - 1] ?? false;
    } else if (char === ")") {
      depth = Math.max(0, depth - 1);
      push("bracket", 1);
    } else if (char === ",") push("comma", 1);
    else if (char === '"') push("string", at(STRING, line, index)?.length ?? 1);
    else if (char === "/" && at(REGEX, line, index)) push("regex", at(REGEX, line, index)?.length ?? 1);
    else if (!glued && (char === "-" || char === "!") && /[^\s)=]/.test(line[index + 1] ?? " ")) push("not", 1);
    else if (glued && before?.kind === "operator" && at(RANGE, line, index))
      push("number", at(RANGE, line, index)?.length ?? 1);
    else if (at(OPERATOR, line, index)) push("operator", at(OPERATOR, line, index)?.length ?? 1);
    else {
      const name = at(NAME, line, index);
      const after = name ? index + name.length : index;
      const isValue = before?.kind === "operator" && glued;
      if (wantsCommand && name) push("command", name.length);
      else if (name && !isValue && at(OPERATOR, line, after)) push("field", name.length);
      else if (name && line[after] === "(" && !JOINERS.has(name)) push("function", name.length);
      else {
        const bare = at(BARE, line, index) ?? char;
        push(kindOf(bare, behindPipe[depth] ?? false, isValue), bare.length);
      }
    }
    wantsCommand = false;
  }
  return tokens;
}

function kindOf(bare: string, behindPipe: boolean, isValue: boolean): TokenKind {
  if (!isValue && (JOINERS.has(bare) || (behindPipe && PIPE_WORDS.has(bare.toLowerCase())))) return "keyword";
  if (NUMBER.test(bare)) return "number";
  if (/(?:^|[^\\])[*?]/.test(bare)) return "wildcard";
  // Behind a pipe, a bare word names a column more often than not.
  return behindPipe && !isValue && /^[\p{L}_@]/u.test(bare) ? "field" : "word";
}

/** One pipe of a line. */
export interface Stage {
  /** Its name, such as `stats`. */
  name: string;
  /** What stands between this pipe and the next, name included, without the bar. */
  text: string;
  from: number;
  to: number;
}

/** A line taken apart: the conditions in front, then its pipes. */
export interface Parts {
  conditions: string;
  stages: Stage[];
}

export function parts(line: string): Parts {
  const tokens = tokenize(line);
  const bars = tokens.filter((token) => token.kind === "pipe" && token.depth === 0);
  const first = bars[0];
  if (!first) return { conditions: line.trim(), stages: [] };
  return {
    conditions: line.slice(0, first.from).trim(),
    stages: bars.map((bar, index) => {
      const end = bars[index + 1]?.from ?? line.length;
      const name = tokens.find((token) => token.from >= bar.to && token.from < end)?.text ?? "";
      return { name: name.toLowerCase(), text: line.slice(bar.to, end).trim(), from: bar.from, to: end };
    }),
  };
}

/** The line of its parts. */
export function joined({ conditions, stages }: { conditions: string; stages: { text: string }[] }): string {
  return [conditions.trim(), ...stages.map((stage) => `| ${stage.text}`)].filter(Boolean).join(" ");
}
