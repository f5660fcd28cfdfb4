/** The span of time the list shows, for the mark below the histogram. It changes while one scrolls, so that only the mark
 * listens. */
import { create } from "zustand";

interface Seen {
  span: { from: number; to: number } | null;
}

export const useSeen = create<Seen>()(() => ({ span: null }));

export function setSeen(span: Seen["span"]): void {
  const before = useSeen.getState().span;
  if (before?.from !== span?.from || before?.to !== span?.to) useSeen.setState({ span });
}
