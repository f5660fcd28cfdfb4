/** Keyboard: shortcuts of a page, two-key sequences (`g a`), never while someone writes. */
import { useEffect, useRef } from "react";

export type Shortcuts = Record<string, (event: KeyboardEvent) => void>;

/** Whether the event comes from a place where letters are text. */
export function isWriting(event: Event): boolean {
  const target = event.target as HTMLElement | null;
  return Boolean(target?.closest?.("input, textarea, select, [contenteditable=true], .cm-editor"));
}

/** Name of a key press: `mod+k`, `shift+?` is `?`, `g`. */
export function keyName(event: KeyboardEvent): string {
  const mod = event.metaKey || event.ctrlKey ? "mod+" : "";
  const alt = event.altKey ? "alt+" : "";
  return `${mod}${alt}${event.key.length === 1 ? event.key.toLowerCase() : event.key}`;
}

const SEQUENCE_MS = 900;

/** Binds shortcuts for as long as the component lives; the one mounted last wins. */
export function useShortcuts(shortcuts: Shortcuts, enabled = true): void {
  const current = useRef(shortcuts);
  current.current = shortcuts;
  useEffect(() => {
    if (!enabled) return;
    let first = "";
    let since = 0;
    const onKey = (event: KeyboardEvent): void => {
      if (event.defaultPrevented) return;
      const name = keyName(event);
      const writing = isWriting(event);
      if (writing && !name.startsWith("mod+")) return;
      if (document.querySelector("[role=dialog]") && !name.startsWith("mod+")) return;
      const now = performance.now();
      const sequence = first && now - since < SEQUENCE_MS ? `${first} ${name}` : "";
      const action = (sequence && current.current[sequence]) || current.current[name];
      first = name.length === 1 ? name : "";
      since = now;
      if (action) {
        event.preventDefault();
        action(event);
      }
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [enabled]);
}
