import { X } from "lucide-react";
import { Toast } from "radix-ui";
import { create } from "zustand";
import { asApiError } from "@/api/problem";
import { cx } from "@/lib/cx";

interface Entry {
  id: number;
  tone: "ok" | "bad" | "calm";
  text: string;
  action?: { label: string; run: () => void };
}

interface Store {
  entries: Entry[];
  add: (entry: Omit<Entry, "id">) => void;
  drop: (id: number) => void;
}

let next = 1;

const useToasts = create<Store>()((set) => ({
  entries: [],
  // More than four at once hide the page: the oldest goes.
  add: (entry) => set(({ entries }) => ({ entries: [...entries.slice(-3), { ...entry, id: next++ }] })),
  drop: (id) => set(({ entries }) => ({ entries: entries.filter((entry) => entry.id !== id) })),
}));

/** Short words at the edge about what was just done. */
export const toast = {
  ok: (text: string, action?: Entry["action"]): void => useToasts.getState().add({ tone: "ok", text, action }),
  calm: (text: string, action?: Entry["action"]): void => useToasts.getState().add({ tone: "calm", text, action }),
  failed: (error: unknown): void => useToasts.getState().add({ tone: "bad", text: asApiError(error).detail }),
};

export function Toasts() {
  const { entries, drop } = useToasts();
  return (
    <Toast.Provider swipeDirection="right" duration={6000}>
      {entries.map((entry) => (
        <Toast.Root
          key={entry.id}
          type={entry.tone === "bad" ? "foreground" : "background"}
          onOpenChange={(open) => !open && drop(entry.id)}
          className={cx(
            "flex items-center gap-3 rounded-md border bg-raised px-3 py-2 text-sm shadow-pop",
            entry.tone === "bad" ? "border-critical" : entry.tone === "ok" ? "border-ok" : "border-line",
          )}
        >
          <Toast.Description className="min-w-0 flex-1">{entry.text}</Toast.Description>
          {entry.action ? (
            <Toast.Action
              altText={entry.action.label}
              onClick={entry.action.run}
              className="font-medium text-accent hover:underline"
            >
              {entry.action.label}
            </Toast.Action>
          ) : null}
          <Toast.Close aria-label="Dismiss" className="text-faint hover:text-fg">
            <X size={14} aria-hidden />
          </Toast.Close>
        </Toast.Root>
      ))}
      <Toast.Viewport className="fixed right-3 bottom-3 z-60 flex w-90 max-w-[calc(100vw-1.5rem)] flex-col gap-2 outline-none" />
    </Toast.Provider>
  );
}
