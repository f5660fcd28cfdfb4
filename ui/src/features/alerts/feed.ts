/** The list as it is shown: pages of the server and live changes made one, without the rows under the reader's eyes moving.
 *
 * Always true:
 * - a row is in the list once;
 * - a change of a shown alert shows at once, in its place; one that no longer fits the filter leaves;
 * - an alert that is new to the list is put in its place while the reader is at the top, else it waits for `release`;
 * - what lies beyond the loaded pages is not put in: its page will bring it. */
import { type AlertFilter, fits, type Sort } from "./filter";
import type { AlertRow } from "./model";

/** New alerts kept waiting; beyond, `release` must load the list anew. */
export const WAITING_MAX = 2000;

const SEVERITY: Record<string, number> = { CRITICAL: 3, WARNING: 2, NORMAL: 1 };

/** Order of rows: negative when `a` stands before `b`. Times have one form, so their texts sort as they do. */
export function order(sort: Sort, a: AlertRow, b: AlertRow): number {
  if (sort === "worst") {
    const by = (SEVERITY[b.severity] ?? 0) - (SEVERITY[a.severity] ?? 0) || compare(a.priority, b.priority);
    if (by !== 0) return by;
  }
  const [x, y] = sort === "last_seen" ? [a.last_seen, b.last_seen] : [a.raised_at, b.raised_at];
  return compare(y, x) || compare(b.id, a.id);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

export class Feed {
  rows: readonly AlertRow[] = [];
  /** Cursor of the next page; null when all are loaded; undefined before the first page. */
  next: string | null | undefined = undefined;
  /** Whether changes may have been missed. */
  stale = false;
  private ids = new Set<string>();
  private waiting = new Map<string, AlertRow>();
  private overflow = 0;
  private early: AlertRow[] = [];

  constructor(readonly filter: AlertFilter) {}

  /** New alerts that wait. */
  get waitingCount(): number {
    return this.waiting.size + this.overflow;
  }

  /** Whether what waits is too much to be put in: the list must be loaded anew. */
  get overflows(): boolean {
    return this.overflow > 0;
  }

  has(id: string): boolean {
    return this.ids.has(id);
  }

  /** The first page, or the first page again. Changes that came while it was on its way are applied to it. */
  load(page: readonly AlertRow[], next: string | null, now: number): void {
    this.rows = page;
    this.ids = new Set(page.map((row) => row.id));
    this.next = next;
    this.stale = false;
    this.waiting.clear();
    this.overflow = 0;
    const early = this.early;
    this.early = [];
    this.change(early, false, now);
  }

  /** The next page. */
  append(page: readonly AlertRow[], next: string | null): void {
    const fresh = page.filter((row) => !this.ids.has(row.id));
    for (const row of fresh) {
      this.ids.add(row.id);
      this.waiting.delete(row.id);
    }
    this.rows = [...this.rows, ...fresh];
    this.next = next;
  }

  /** Changes as they came. `hold` keeps new rows waiting. Tells whether anything to be seen changed. */
  change(changes: readonly AlertRow[], hold: boolean, now: number): boolean {
    if (changes.length === 0) return false;
    if (this.next === undefined) {
      this.early.push(...changes.slice(-WAITING_MAX));
      return false;
    }
    const latest = new Map<string, AlertRow | null>();
    const fresh = new Map<string, AlertRow>();
    let seen = false;
    for (const row of changes) {
      const fit = fits(this.filter, row, now);
      if (this.ids.has(row.id)) {
        latest.set(row.id, fit === false ? null : row);
      } else if (fit === true && this.belongs(row)) {
        fresh.set(row.id, row);
      } else if (fit === false) {
        fresh.delete(row.id);
        seen = this.waiting.delete(row.id) || seen;
      }
    }
    if (latest.size > 0) {
      this.replace(latest);
      seen = true;
    }
    if (fresh.size > 0) {
      seen = true;
      if (hold) this.wait(fresh);
      else this.insert([...fresh.values()]);
    }
    return seen;
  }

  /** Puts in what waits. */
  release(): void {
    const rows = [...this.waiting.values()];
    this.waiting.clear();
    this.insert(rows);
  }

  /** Shows rows as they are going to be; the answer takes it back, for rows nothing newer was heard of. */
  foresee(ids: ReadonlySet<string>, change: (row: AlertRow) => AlertRow, now: number): () => void {
    const before = new Map<string, { was: AlertRow; shown: AlertRow | null }>();
    const latest = new Map<string, AlertRow | null>();
    for (const row of this.rows) {
      if (!ids.has(row.id)) continue;
      const next = change(row);
      if (next === row) continue;
      const shown = fits(this.filter, next, now) === false ? null : next;
      latest.set(row.id, shown);
      before.set(row.id, { was: row, shown });
    }
    if (latest.size > 0) this.replace(latest);
    return () => {
      const back = new Map<string, AlertRow | null>();
      const gone: AlertRow[] = [];
      const now = new Map(this.rows.map((row) => [row.id, row]));
      for (const [id, { was, shown }] of before) {
        const current = now.get(id);
        if (shown === null && !current) gone.push(was);
        else if (current && current === shown) back.set(id, was);
      }
      if (back.size > 0) this.replace(back);
      this.insert(gone);
    };
  }

  private belongs(row: AlertRow): boolean {
    const last = this.rows.at(-1);
    return this.next === null || !last || order(this.filter.sort, row, last) < 0;
  }

  private wait(fresh: Map<string, AlertRow>): void {
    for (const [id, row] of fresh) {
      if (this.waiting.has(id) || this.waiting.size < WAITING_MAX) this.waiting.set(id, row);
      else this.overflow += 1;
    }
  }

  /** Replaces rows by id in one pass; null removes. */
  private replace(latest: Map<string, AlertRow | null>): void {
    const rows: AlertRow[] = [];
    for (const row of this.rows) {
      const change = latest.get(row.id);
      if (change === undefined) rows.push(row);
      else if (change) rows.push(change);
      else this.ids.delete(row.id);
    }
    this.rows = rows;
  }

  /** Puts rows into their places in one pass. */
  private insert(rows: AlertRow[]): void {
    const fresh = rows.filter((row) => !this.ids.has(row.id)).sort((a, b) => order(this.filter.sort, a, b));
    if (fresh.length === 0) return;
    const merged: AlertRow[] = [];
    let at = 0;
    for (const row of this.rows) {
      let next = fresh[at];
      while (next && order(this.filter.sort, next, row) < 0) {
        merged.push(next);
        at += 1;
        next = fresh[at];
      }
      merged.push(row);
    }
    merged.push(...fresh.slice(at));
    for (const row of fresh) this.ids.add(row.id);
    this.rows = merged;
  }
}
