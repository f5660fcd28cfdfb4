/** Places the server names, in characters, as places of the editor, in UTF-16 units. */
import type { Mistake } from "../SearchEditor";

/** Start and end of a mistake in a text; at least one character wide where there is one. */
export function unitsOf(text: string, { line, column, length }: Mistake): { from: number; to: number } {
  const lines = text.split("\n");
  const skipped = line ? lines.slice(0, Math.max(0, line - 1)).join("\n").length + (line > 1 ? 1 : 0) : 0;
  const rest = [...text.slice(skipped)];
  const start = Math.min(Math.max(0, column - 1), rest.length);
  const end = Math.min(rest.length, start + Math.max(1, length));
  // A mistake at the very end has nothing to underline but what is before it.
  const from = start === rest.length && start > 0 ? start - 1 : start;
  const units = (count: number): number => skipped + rest.slice(0, count).join("").length;
  return { from: units(from), to: units(Math.max(end, from)) };
}
