/** Which parts of a message vary: those where its template has `<*>`. */

export interface Piece {
  text: string;
  isVariable: boolean;
}

/** A message in its constant and its varying parts. A message that does not fit the template is one constant part. */
export function piecesOf(message: string, template: string | null): Piece[] {
  const whole = [{ text: message, isVariable: false }];
  if (!template?.includes("<*>")) return whole;
  const constants = template.split("<*>");
  const pieces: Piece[] = [];
  let at = 0;
  for (const [index, constant] of constants.entries()) {
    // White space in a template is one space, whatever it was in the message.
    const pattern = new RegExp(constant.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&").replace(/\s+/g, "\\s+"), "g");
    const isLast = index === constants.length - 1;
    pattern.lastIndex = isLast && constant === "" ? message.length : at;
    const found = pattern.exec(message);
    if (!found || (index === 0 && found.index !== 0)) return whole;
    if (found.index > at) pieces.push({ text: message.slice(at, found.index), isVariable: true });
    if (found[0]) pieces.push({ text: found[0], isVariable: false });
    at = found.index + found[0].length;
  }
  if (at < message.length) pieces.push({ text: message.slice(at), isVariable: true });
  return pieces;
}

export interface Spanned {
  span: string;
  parent: string;
}

/** How deep each record of a trace is: 0 for those whose parent is not among them. */
export function depthsOf(records: readonly Spanned[]): number[] {
  const parents = new Map(records.filter((one) => one.span).map((one) => [one.span, one.parent]));
  const known = new Map<string, number>();
  const depthOf = (span: string, steps: number): number => {
    const found = known.get(span);
    if (found !== undefined) return found;
    const parent = parents.get(span) ?? "";
    // A circle of parents ends somewhere.
    const depth = parent && parents.has(parent) && parent !== span && steps < 64 ? depthOf(parent, steps + 1) + 1 : 0;
    known.set(span, depth);
    return depth;
  };
  return records.map((one) => (one.span ? depthOf(one.span, 0) : 0));
}
