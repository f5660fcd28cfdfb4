/** Rows of an answer of any length, of which only those near the reader are held.
 *
 * At first the list is read from its start, page after page. Once the records are counted by time (`countedBy`) it is as long
 * as the answer, and any part of it can be gone to: a block of rows is a span of time, asked for when it comes into view and
 * dropped when it is far away.
 *
 * Invariants: rows of a block are in the order of the list; at most `ROWS_HELD_MAX` rows are held, but for those in view;
 * at most `LOADS_MAX` requests run at once. */

import { type ApiError, asApiError } from "@/api/problem";
import { type Bin, BLOCK_ROWS_MAX, blocksOf, type Order } from "./bins";
import { idOf, type LogRow, msOf } from "./record";

export const ROWS_HELD_MAX = 20_000;
const LOADS_MAX = 3;
/** Rows before and after the view that are loaded ahead. */
const AHEAD_ROWS = 300;
/** Rows of a page while the list is read from its start. */
export const PAGE_ROWS = 200;
/** A block may have grown a little since it was counted. */
const SLACK = 64;

export interface PageRequest {
  from: number;
  to: number;
  limit: number;
  cursor?: string;
}

export interface Page {
  rows: LogRow[];
  /** Cursor of what follows; null at the end, undefined where the server gives none. */
  next?: string | null;
}

export interface Source {
  page: (request: PageRequest, signal: AbortSignal) => Promise<Page>;
  /** Counts by time within a span, finer than before. */
  bins: (from: number, to: number, signal: AbortSignal) => Promise<Bin[]>;
}

interface Block extends Bin {
  rows: LogRow[] | null;
  cursor?: string;
  load: AbortController | null;
  /** Counter of the last time it was seen. */
  seen: number;
}

export class RowWindow {
  private blocks: Block[] = [];
  /** Index of each block's first row; one more than blocks. */
  private starts: number[] = [0];
  private listeners = new Set<() => void>();
  private clock = 0;
  private view = { first: 0, last: 0 };
  private isCounted = false;
  private isEnded = false;
  private nextCursor: string | null | undefined;
  private appending: AbortController | null = null;
  private gone = false;
  /** Counts changes, for those who draw. */
  version = 0;
  error: ApiError | null = null;
  /** Told when rows above the view came or went: from which row on, and how many. */
  onShift: ((index: number, by: number) => void) | null = null;

  constructor(
    private readonly source: Source,
    private readonly range: { from: number; to: number },
    private readonly order: Order,
  ) {}

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  private changed(): void {
    this.version += 1;
    for (const listener of this.listeners) listener();
  }

  get total(): number {
    return this.starts.at(-1) ?? 0;
  }

  /** Whether `total` is that of the whole answer. */
  get isWhole(): boolean {
    return this.isCounted || this.isEnded;
  }

  get rowsHeld(): number {
    return this.blocks.reduce((sum, block) => sum + (block.rows?.length ?? 0), 0);
  }

  at(index: number): LogRow | undefined {
    const place = this.blockAt(index);
    const block = this.blocks[place];
    return block?.rows?.[index - (this.starts[place] ?? 0)];
  }

  /** The loaded rows, in order: what figures of the rows in hand are made of. */
  *loaded(): Generator<LogRow> {
    for (const block of this.blocks) if (block.rows) yield* block.rows;
  }

  /** Takes rows found while the answer streams: they follow those there are. */
  append(rows: LogRow[], end?: { next?: string | null }): void {
    if (this.gone) return;
    if (rows.length > 0) {
      const known = new Set(this.blocks.at(-1)?.rows?.slice(-PAGE_ROWS).map(idOf));
      const fresh = rows.filter((row) => !known.has(idOf(row)));
      if (fresh.length > 0) this.blocks.push(this.blockOf(fresh));
    }
    if (end) {
      this.nextCursor = end.next;
      this.isEnded = end.next === null;
    }
    this.counted();
  }

  private blockOf(rows: LogRow[]): Block {
    const ends = [msOf(rows[0] as LogRow), msOf(rows.at(-1) as LogRow)];
    const [from, to] = [Math.min(...ends), Math.max(...ends) + 1];
    return { from, to, count: rows.length, rows, cursor: this.nextCursor ?? undefined, load: null, seen: this.clock };
  }

  /** The list is now as long as the answer: blocks by time, with the rows that are there already. */
  countedBy(bins: readonly Bin[]): void {
    if (this.gone || this.isCounted) return;
    this.isCounted = true;
    this.appending?.abort();
    this.appending = null;
    const held = [...this.loaded()];
    const last = held.at(-1);
    this.blocks = blocksOf(bins, this.order).map((bin) => ({ ...bin, rows: null, load: null, seen: 0 }));
    if (last) this.blocks = this.blocks.flatMap((block) => this.filled(block, held, msOf(last)));
    this.counted();
    this.show(this.view.first, this.view.last);
  }

  /** A block with those of the held rows that fall into it. `edge` is the time of the last of them, up to which they are
   * all there are; a block that reaches across it is cut there. */
  private filled(block: Block, held: LogRow[], edge: number): Block[] {
    const newest = this.order === "newest";
    if (this.isEnded) return [{ ...block, ...this.within(held, block.from, block.to) }];
    if (newest ? block.from > edge : block.to <= edge)
      return [{ ...block, ...this.within(held, block.from, block.to) }];
    if (newest ? block.to <= edge + 1 : block.from >= edge) return [block];
    const near = newest ? { from: edge + 1, to: block.to } : { from: block.from, to: edge };
    const far = newest ? { from: block.from, to: edge + 1 } : { from: edge, to: block.to };
    const part = this.within(held, near.from, near.to);
    return [
      { ...block, ...near, ...part },
      { ...block, ...far, count: Math.max(0, block.count - part.count) },
    ].filter((one) => one.count > 0);
  }

  private within(held: LogRow[], from: number, to: number): { rows: LogRow[]; count: number; seen: number } {
    const rows = held.filter((row) => msOf(row) >= from && msOf(row) < to);
    return { rows, count: rows.length, seen: this.clock };
  }

  /** Says which rows are seen: they and those around are loaded, those far away dropped. */
  show(first: number, last: number): void {
    this.view = { first, last };
    this.clock += 1;
    const margin = Math.max(AHEAD_ROWS, last - first);
    const [low, high] = [this.blockAt(first - margin), this.blockAt(last + margin)];
    const wanted: Block[] = [];
    for (let place = low; place <= high; place += 1) {
      const block = this.blocks[place];
      if (!block) continue;
      block.seen = this.clock;
      if (!block.rows) wanted.push(block);
    }
    for (const block of this.blocks) if (block.load && block.seen !== this.clock) this.stop(block);
    // What is seen comes before what may be.
    const middle = this.blocks[this.blockAt((first + last) >> 1)];
    wanted.sort((a, b) => Number(b === middle) - Number(a === middle));
    for (const block of wanted) {
      if (this.blocks.filter((one) => one.load).length >= LOADS_MAX) break;
      if (!block.load && !this.error) void this.load(block);
    }
    if (!this.isWhole && last + margin >= this.total) void this.appendPage();
    this.evict();
  }

  /** Tries again what failed. */
  retry(): void {
    this.error = null;
    this.changed();
    this.show(this.view.first, this.view.last);
  }

  close(): void {
    this.gone = true;
    this.appending?.abort();
    for (const block of this.blocks) block.load?.abort();
    this.listeners.clear();
  }

  private stop(block: Block): void {
    block.load?.abort();
    block.load = null;
  }

  private async load(block: Block): Promise<void> {
    const abort = new AbortController();
    block.load = abort;
    try {
      const isCoarse = this.isCounted && block.count > BLOCK_ROWS_MAX && block.to - block.from > 1;
      const bins = isCoarse ? await this.source.bins(block.from, block.to, abort.signal) : [];
      if (isCoarse && bins.length > 0) {
        if (abort.signal.aborted) return;
        this.replace(
          block,
          blocksOf(bins, this.order).map((bin) => ({ ...bin, rows: null, load: null, seen: 0 })),
        );
      } else {
        const limit = block.count + SLACK;
        const { from, to, cursor } = block;
        const page = await this.source.page(
          this.isCounted ? { from, to, limit } : { ...this.range, limit: block.count, cursor },
          abort.signal,
        );
        if (abort.signal.aborted) return;
        this.replace(block, [{ ...block, rows: page.rows, count: page.rows.length, load: null }]);
      }
    } catch (error) {
      if (abort.signal.aborted) return;
      block.load = null;
      this.error = asApiError(error);
      this.changed();
      return;
    }
    this.show(this.view.first, this.view.last);
  }

  private replace(block: Block, by: Block[]): void {
    const place = this.blocks.indexOf(block);
    if (place < 0) return;
    const start = this.starts[place] ?? 0;
    const end = start + block.count;
    this.blocks.splice(place, 1, ...by);
    const grown = by.reduce((sum, one) => sum + one.count, 0) - block.count;
    this.counted();
    if (grown !== 0 && end <= this.view.first) this.onShift?.(end, grown);
  }

  /** Reads on from the end of what was read, while the answer is not counted. */
  private async appendPage(): Promise<void> {
    if (this.appending || this.isWhole || this.error || this.blocks.length === 0) return;
    const abort = new AbortController();
    this.appending = abort;
    try {
      const request = this.nextRequest();
      const page = await this.source.page(request, abort.signal);
      if (abort.signal.aborted) return;
      const before = this.total;
      this.append(page.rows, {
        next: page.next !== undefined ? page.next : page.rows.length < request.limit ? null : undefined,
      });
      // A page of nothing new would be asked for for ever.
      if (this.total === before) this.isEnded = true;
    } catch (error) {
      if (abort.signal.aborted) return;
      this.error = asApiError(error);
    } finally {
      if (this.appending === abort) this.appending = null;
    }
    this.changed();
  }

  /** Where the server gives no cursor, the next page starts with the time of the last row; those known are left out. */
  private nextRequest(): PageRequest {
    if (this.nextCursor) return { ...this.range, limit: PAGE_ROWS, cursor: this.nextCursor };
    const last = this.blocks.at(-1)?.rows?.at(-1);
    const edge = last ? msOf(last) : this.order === "newest" ? this.range.to : this.range.from;
    const rest = this.order === "newest" ? { from: this.range.from, to: edge + 1 } : { from: edge, to: this.range.to };
    return { ...rest, limit: PAGE_ROWS };
  }

  private counted(): void {
    this.starts = [0];
    for (const block of this.blocks) this.starts.push((this.starts.at(-1) ?? 0) + block.count);
    this.changed();
  }

  private blockAt(index: number): number {
    let low = 0;
    let high = this.blocks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.starts[middle] ?? 0) <= index) low = middle;
      else high = middle - 1;
    }
    return Math.max(0, low);
  }

  /** Drops rows seen longest ago. While the list is read from its start they are kept, for they tell where it goes on. */
  private evict(): void {
    if (!this.isCounted) return;
    let held = this.rowsHeld;
    if (held <= ROWS_HELD_MAX) return;
    const old = this.blocks.filter((block) => block.rows && block.seen !== this.clock).sort((a, b) => a.seen - b.seen);
    for (const block of old) {
      if (held <= ROWS_HELD_MAX) return;
      held -= block.rows?.length ?? 0;
      block.rows = null;
    }
  }
}
