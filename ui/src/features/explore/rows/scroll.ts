/** A list taller than a browser can make an element: its pixels mapped onto those of the scroll bar.
 *
 * Small steps (wheel, keys, touch) move the list by as many pixels; a drag of the bar moves it by share. When scrolling
 * rests, the bar is set to where it belongs (`settle`), while the rows stay where they are. */

/** Chromium draws elements of up to 33 million px, Firefox of 17; this is safely below both. */
export const SCROLL_PX_MAX = 8_000_000;

export class ScrollSpace {
  private total = 0;
  private view = 0;
  /** Where the list's first seen pixel is. */
  top = 0;
  /** Where the scroll bar is. */
  private bar = 0;

  constructor(private readonly max: number = SCROLL_PX_MAX) {}

  /** Height of the element that scrolls. */
  get physical(): number {
    return Math.min(this.total, this.max);
  }

  /** Subtracted from a row's place to get its place in the element. */
  get offset(): number {
    return this.top - this.bar;
  }

  private get isScaled(): boolean {
    return this.total > this.max;
  }

  resize(total: number, view: number): void {
    this.total = total;
    this.view = view;
    this.top = this.clamp(this.top);
  }

  /** The bar was moved by the reader. */
  moved(bar: number): void {
    const by = bar - this.bar;
    this.bar = bar;
    if (!this.isScaled) {
      this.top = this.clamp(bar);
      return;
    }
    const end = this.physical - this.view;
    if (bar <= 0) this.top = 0;
    else if (bar >= end - 0.5) this.top = this.clamp(this.total);
    else if (Math.abs(by) <= this.view * 1.5) this.top = this.clamp(this.top + by);
    else this.top = this.clamp((bar / end) * (this.total - this.view));
  }

  /** Goes to a pixel of the list; where the bar is to be put. */
  goTo(top: number): number {
    this.top = this.clamp(top);
    return this.settle();
  }

  /** Where the bar belongs for what is seen. */
  settle(): number {
    this.bar = this.isScaled
      ? (this.top / Math.max(1, this.total - this.view)) * (this.physical - this.view)
      : this.top;
    return this.bar;
  }

  /** Where the browser has put the bar: it may round. */
  barIs(bar: number): void {
    this.bar = bar;
  }

  /** Whether the bar is so near an end of its way that the next steps would be cut off. */
  get isCramped(): boolean {
    if (!this.isScaled) return false;
    const end = this.physical - this.view;
    const margin = this.view * 2;
    return (
      (this.bar < margin && this.top > this.bar + 1) ||
      (this.bar > end - margin && this.total - this.view - this.top > end - this.bar + 1)
    );
  }

  private clamp(top: number): number {
    return Math.max(0, Math.min(top, this.total - this.view));
  }
}
