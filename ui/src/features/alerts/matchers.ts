/** Matchers as `amtool` writes them: `label=value`, `!=`, `=~`, `!~`; a pattern matches the whole value. */

export interface Matcher {
  label: string;
  op: "=" | "!=" | "=~" | "!~";
  value: string;
}

/** A matcher from its text, or null. */
export function parseMatcher(text: string): Matcher | null {
  const found = /^\s*([A-Za-z_][\w.:-]*)\s*(=~|!~|!=|=)\s*(.*?)\s*$/s.exec(text);
  if (!found) return null;
  const [, label, op, raw] = found;
  if (!label || !op || raw === undefined) return null;
  const value = /^".*"$/s.test(raw)
    ? raw.slice(1, -1).replace(/\\(["\\n])/g, (_, c: string) => (c === "n" ? "\n" : c))
    : raw;
  return { label, op: op as Matcher["op"], value };
}

/** The text of a matcher. */
export function writeMatcher({ label, op, value }: Matcher): string {
  return `${label}${op}"${value.replace(/[\\"]/g, "\\$&").replace(/\n/g, "\\n")}"`;
}

/** What is wrong with a matcher's text, or null. */
export function matcherFault(text: string): string | null {
  const matcher = parseMatcher(text);
  if (!matcher) return "write it as label=value, label!=value, label=~pattern or label!~pattern";
  if ((matcher.op === "=~" || matcher.op === "!~") && !pattern(matcher.value))
    return "the pattern is not a regular expression";
  return null;
}

/** Whether a value passes; null when the pattern cannot be tried here (the server's dialect knows more). */
export function passes(matcher: Matcher, value: string): boolean | null {
  if (matcher.op === "=") return value === matcher.value;
  if (matcher.op === "!=") return value !== matcher.value;
  const regex = pattern(matcher.value);
  if (!regex) return null;
  return regex.test(value) === (matcher.op === "=~");
}

function pattern(text: string): RegExp | null {
  try {
    return new RegExp(`^(?:${text})$`, "s");
  } catch {
    return null;
  }
}
