import { create } from "zustand";

export type Theme = "light" | "dark";

interface State {
  theme: Theme;
  toggle: () => void;
}

/** Dark or light: the reader's choice, else the system's. */
export const useTheme = create<State>()((set, get) => ({
  theme: document.documentElement.dataset.theme === "dark" ? "dark" : "light",
  toggle: () => {
    const theme = get().theme === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("heimdall.theme", theme);
    set({ theme });
  },
}));
