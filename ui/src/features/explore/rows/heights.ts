/** Heights of rows in a list of a million: all the same until one is measured to be different. */

/** Sums over a growing list, each step O(log n) (Fenwick, "A new data structure for cumulative frequency tables", 1994). */
class Sums {
  private tree: Int32Array;
  readonly values: Int32Array;

  constructor(readonly size: number) {
    this.tree = new Int32Array(size + 1);
    this.values = new Int32Array(size);
  }

  add(index: number, by: number): void {
    this.values[index] = (this.values[index] ?? 0) + by;
    for (let at = index + 1; at <= this.size; at += at & -at) this.tree[at] = (this.tree[at] ?? 0) + by;
  }

  /** Sum of those before `index`. */
  before(index: number): number {
    let sum = 0;
    for (let at = Math.min(index, this.size); at > 0; at -= at & -at) sum += this.tree[at] ?? 0;
    return sum;
  }
}

export class Heights {
  private count = 0;
  /** How much rows differ from `rowPx`; none do until one is set. */
  private extra: Sums | null = null;

  constructor(private rowPx: number) {}

  get total(): number {
    return this.count * this.rowPx + (this.extra?.before(this.count) ?? 0);
  }

  setCount(count: number): void {
    this.count = count;
    const old = this.extra;
    if (!old || old.size >= count) return;
    const grown = new Sums(Math.ceil(count * 1.5));
    old.values.forEach((by, index) => {
      if (by !== 0) grown.add(index, by);
    });
    this.extra = grown;
  }

  /** Forgets what was measured; `rowPx` is the height of rows from now on. */
  reset(rowPx: number): void {
    this.rowPx = rowPx;
    this.extra = null;
  }

  sizeOf(index: number): number {
    return this.rowPx + (this.extra?.values[index] ?? 0);
  }

  /** Pixels before a row. */
  startOf(index: number): number {
    return index * this.rowPx + (this.extra?.before(index) ?? 0);
  }

  /** Sets a measured height; how much taller the row became. */
  set(index: number, px: number): number {
    const by = px - this.sizeOf(index);
    if (by === 0 || index >= this.count) return 0;
    this.extra ??= new Sums(Math.max(16, Math.ceil(this.count * 1.5)));
    this.extra.add(index, by);
    return by;
  }

  /** The row at a pixel. */
  indexAt(px: number): number {
    if (this.count === 0) return 0;
    if (!this.extra) return clamp(Math.floor(px / this.rowPx), 0, this.count - 1);
    let low = 0;
    let high = this.count - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.startOf(middle) <= px) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

function clamp(value: number, low: number, high: number): number {
  return Math.max(low, Math.min(high, value));
}
