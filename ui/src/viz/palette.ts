/** Colours of charts. Series colours are Okabe and Ito's, in an order whose neighbours differ in lightness too. */

const SERIES = {
  light: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#5b4fa0", "#7a7a7a"],
  dark: ["#56b4e9", "#ff8a55", "#4cc9a0", "#e08fc0", "#efb43f", "#8fd0f5", "#a89bf0", "#a4b4c2"],
};

/** Value of a colour token such as `--fg`, as it is now. */
export function token(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim() || "#888";
}

/** Colours of series, in order. */
export function seriesColours(): string[] {
  return document.documentElement.dataset.theme === "dark" ? SERIES.dark : SERIES.light;
}

const LEVELS: Record<string, string> = {
  fatal: "--fatal",
  error: "--critical",
  warn: "--warning",
  info: "--info",
  debug: "--faint",
  trace: "--line-strong",
  CRITICAL: "--critical",
  WARNING: "--warning",
  NORMAL: "--ok",
  OPEN: "--critical",
  ACKNOWLEDGED: "--info",
  SUPPRESSED: "--faint",
  RESOLVED: "--ok",
};

/** Colour of a series by its name: levels, severities and statuses keep theirs; null for any other. */
export function namedColour(name: string): string | null {
  const found = LEVELS[name];
  return found ? token(found) : null;
}

/** Shades from quiet to strong for heatmaps: one hue, lightness grows (or shrinks, in the dark) with the value. */
export function shades(): string[] {
  return document.documentElement.dataset.theme === "dark"
    ? ["#14212d", "#1d4a5c", "#2b7f8f", "#6fb6a0", "#f2c14e", "#ff8a55"]
    : ["#eef2f5", "#bfe0e6", "#6fb4c4", "#2b8296", "#c77a00", "#b03a00"];
}
