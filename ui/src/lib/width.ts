import { useSyncExternalStore } from "react";

/** Breakpoints of the window, px: those of the dashboards' grid. */
export const WIDTHS = { sm: 768, md: 996, lg: 1200 } as const;

function subscribe(changed: () => void): () => void {
  window.addEventListener("resize", changed);
  return () => window.removeEventListener("resize", changed);
}

/** Width of the window, px. */
export function useWidth(): number {
  return useSyncExternalStore(subscribe, () => window.innerWidth);
}
