/** How a reader likes to look at records; kept in this browser. What belongs to a view that is shared is in the URL. */
import { create } from "zustand";
import { persist } from "zustand/middleware";

export type Density = "dense" | "roomy";

interface Prefs {
  density: Density;
  sidebar: boolean;
  histogram: boolean;
  /** Widths of columns, px, where the reader changed them. */
  widths: Record<string, number>;
  /** Ask before a question that is estimated to take longer; null: never ask. */
  askAboveMs: number | null;
  set: (changes: Partial<Omit<Prefs, "set">>) => void;
}

export const usePrefs = create<Prefs>()(
  persist(
    (set) => ({
      density: "dense",
      sidebar: true,
      histogram: true,
      widths: {},
      askAboveMs: 3000,
      set: (changes) => set(changes),
    }),
    { name: "heimdall.explore" },
  ),
);
