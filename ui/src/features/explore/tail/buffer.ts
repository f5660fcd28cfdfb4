/** The latest records of a live tail, newest first, as many as fit; while it is paused, what arrives waits.
 *
 * Invariants: at most `TAIL_ROWS_MAX` are shown and as many wait; what is dropped is counted. */
import type { LogRow } from "../rows/record";

export const TAIL_ROWS_MAX = 5_000;
const RATE_MS = 5_000;

export class TailBuffer {
  /** Oldest first, so that taking from the front and adding to the end is cheap. */
  private shown: LogRow[] = [];
  private waiting: LogRow[] = [];
  private arrivals: { at: number; count: number }[] = [];
  private listeners = new Set<() => void>();
  version = 0;
  isPaused = false;
  /** All that came since the tail began. */
  received = 0;
  /** Those that came while it was paused and did not fit. */
  droppedWaiting = 0;
  /** Batches the server left out because this page was too slow. */
  missedBatches = 0;
  onShift: ((index: number, by: number) => void) | null = null;

  constructor(private readonly max: number = TAIL_ROWS_MAX) {}

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  get total(): number {
    return this.shown.length;
  }

  get waitingCount(): number {
    return this.waiting.length;
  }

  at(index: number): LogRow | undefined {
    return this.shown[this.shown.length - 1 - index];
  }

  /** Everything is in hand: there is nothing to load. */
  show(): void {}

  /** Takes records, oldest first. */
  add(rows: readonly LogRow[], now: number): void {
    this.received += rows.length;
    this.arrivals.push({ at: now, count: rows.length });
    while (this.arrivals[0] && this.arrivals[0].at < now - RATE_MS) this.arrivals.shift();
    if (this.isPaused) {
      this.waiting.push(...rows);
      const over = this.waiting.length - this.max;
      if (over > 0) {
        this.waiting.splice(0, over);
        this.droppedWaiting += over;
      }
    } else this.take(rows);
    this.changed();
  }

  /** Records a second over the last seconds. */
  rate(now: number): number {
    const recent = this.arrivals.filter((one) => one.at >= now - RATE_MS);
    return recent.reduce((sum, one) => sum + one.count, 0) / (RATE_MS / 1000);
  }

  missed(batches: number): void {
    this.missedBatches += batches;
    this.changed();
  }

  pause(): void {
    this.isPaused = true;
    this.changed();
  }

  /** Goes on where it was paused: what waited follows what is shown. */
  resume(): void {
    this.isPaused = false;
    const { waiting } = this;
    this.waiting = [];
    this.take(waiting);
    this.changed();
  }

  clear(): void {
    this.shown = [];
    this.waiting = [];
    this.droppedWaiting = 0;
    this.missedBatches = 0;
    this.changed();
  }

  private take(rows: readonly LogRow[]): void {
    const kept = rows.length > this.max ? rows.slice(-this.max) : rows;
    this.shown.push(...kept);
    if (this.shown.length > this.max) this.shown.splice(0, this.shown.length - this.max);
    this.onShift?.(0, kept.length);
  }

  private changed(): void {
    this.version += 1;
    for (const listener of this.listeners) listener();
  }
}
