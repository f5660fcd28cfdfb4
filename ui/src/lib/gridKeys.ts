import { useShortcuts } from "./keys";

/** Moves the focus into the page's table with `j`, `k` or an arrow, wherever it was; from there on the table has the keys. */
export function useGridKeys(enabled = true): void {
  const into = (key: string) => (): void => {
    const grid = document.querySelector<HTMLElement>("main [role=grid]");
    if (!grid) return;
    grid.focus();
    grid.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  };
  useShortcuts({ j: into("j"), k: into("k"), ArrowDown: into("ArrowDown"), ArrowUp: into("ArrowUp") }, enabled);
}
