/** Kinds of messages: what is new, what is rare, what is growing. */
import { type Answer, columnIndex } from "@/api/query";

export interface Pattern {
  id: number;
  template: string;
  count: number;
  share: number;
  firstSeen: string;
  lastSeen: string;
  services: number;
  isNew: boolean;
  isRare: boolean;
}

/** A kind is rare when it makes up less than this share of the records. */
export const RARE_SHARE = 0.0005;
/** It is new when it was first seen in the last tenth of the time. */
export const NEW_SHARE = 0.1;

export function patternsOf(answer: Answer, from: number, to: number): Pattern[] {
  const at = Object.fromEntries(
    ["template_id", "template", "count", "share", "first_seen", "last_seen", "services"].map((name) => [
      name,
      columnIndex(answer, name),
    ]),
  ) as Record<string, number>;
  const cell = (row: Answer["rows"][number], name: string) => row[at[name] ?? -1];
  return answer.rows.map((row) => {
    const share = Number(cell(row, "share") ?? 0);
    const firstSeen = String(cell(row, "first_seen") ?? "");
    return {
      id: Number(cell(row, "template_id")),
      template: String(cell(row, "template") ?? ""),
      count: Number(cell(row, "count") ?? 0),
      share,
      firstSeen,
      lastSeen: String(cell(row, "last_seen") ?? ""),
      services: Number(cell(row, "services") ?? 0),
      isNew: Date.parse(firstSeen) > to - (to - from) * NEW_SHARE,
      isRare: share < RARE_SHARE,
    };
  });
}

/** How much the second half of a trend differs from the first: 1 is twice as much, -0.5 half as much; null when there is
 * too little to tell. */
export function growthOf(trend: readonly number[]): number | null {
  const half = Math.floor(trend.length / 2);
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
  const [before, after] = [sum(trend.slice(0, half)), sum(trend.slice(trend.length - half))];
  return before + after < 20 || before === 0 ? null : after / before - 1;
}
