/** Values offered for a filter, from the rows at hand. */
import type { Part } from "../filter";
import { type AlertRow, PRIORITIES, SEVERITIES } from "../model";

const READ_MAX = 5000;
const OFFERED_MAX = 200;

/** `closed`: there are no others. */
export function factsOf(choice: Part | "match", rows: readonly AlertRow[]): { values: string[]; closed: boolean } {
  if (choice === "severity") return { values: [...SEVERITIES], closed: true };
  if (choice === "priority") return { values: [...PRIORITIES], closed: true };
  if (choice === "muted") return { values: ["yes", "no"], closed: true };
  if (choice === "since") return { values: ["now-15m", "now-1h", "now-4h", "now-24h", "now-7d"], closed: false };
  const found = new Set<string>(choice === "assignee" ? ["nobody"] : []);
  for (const row of rows.slice(0, READ_MAX)) {
    if (found.size >= OFFERED_MAX) break;
    if (choice === "match") for (const [label, value] of Object.entries(row.labels)) found.add(`${label}="${value}"`);
    else if (choice === "entity") found.add(`${row.entity.kind}:${row.entity.value}`);
    else if (choice === "service" || choice === "rule" || choice === "assignee" || choice === "incident") {
      const value = row[choice];
      if (value) found.add(value);
    }
  }
  return { values: [...found].sort(), closed: false };
}
