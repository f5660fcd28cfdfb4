/** Charts that move together: the time under the pointer of one is marked on all of its group. */
import { createContext } from "react";

type Listener = (at: number | null, from: unknown) => void;

export class HoverBus {
  private readonly listeners = new Set<Listener>();
  private scheduled = 0;

  /** Says where the pointer is, at most once a frame. `from` is who says it, so that it need not listen to itself. */
  tell(at: number | null, from: unknown): void {
    cancelAnimationFrame(this.scheduled);
    this.scheduled = requestAnimationFrame(() => {
      for (const listener of this.listeners) listener(at, from);
    });
  }

  listen(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}

/** The group that charts below belong to; null: each for itself. */
export const HoverGroup = createContext<HoverBus | null>(null);
