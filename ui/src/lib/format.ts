/** Numbers, sizes and durations for people: short, in the units of the field, the same everywhere. */

const plain = new Intl.NumberFormat("en-US", { maximumFractionDigits: 2 });
const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** `1234567` → `1,234,567`; fractions keep two digits. */
export function formatNumber(value: number | bigint): string {
  return typeof value === "bigint" || Number.isInteger(value) ? whole.format(value) : plain.format(value);
}

/** `1234567` → `1.23M`: three significant digits with k, M, G, T. */
export function formatShort(value: number): string {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const [factor, unit] =
    size >= 1e12
      ? [1e12, "T"]
      : size >= 1e9
        ? [1e9, "G"]
        : size >= 1e6
          ? [1e6, "M"]
          : size >= 1e4
            ? [1e3, "k"]
            : [1, ""];
  return `${trimmed(value / factor, 3)}${unit}`;
}

/** `1536` → `1.5 KiB`. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${trimmed(value, 3)} ${units[unit]}`;
}

/** Milliseconds: `0.42` → `0.42 ms`, `2500` → `2.5 s`, `90000` → `1.5 min`. */
export function formatMs(ms: number): string {
  const size = Math.abs(ms);
  if (size < 1) return `${trimmed(ms, 2)} ms`;
  if (size < 1000) return `${trimmed(ms, 3)} ms`;
  if (size < 60_000) return `${trimmed(ms / 1000, 3)} s`;
  if (size < 3_600_000) return `${trimmed(ms / 60_000, 3)} min`;
  if (size < 86_400_000) return `${trimmed(ms / 3_600_000, 3)} h`;
  return `${trimmed(ms / 86_400_000, 3)} d`;
}

/** Seconds as `3d 4h`, `4h 12m`, `12m 5s`, `5s`: the two largest units. */
export function formatSeconds(seconds: number): string {
  const total = Math.max(0, Math.round(seconds));
  const parts: [number, string][] = [
    [Math.floor(total / 86_400), "d"],
    [Math.floor(total / 3600) % 24, "h"],
    [Math.floor(total / 60) % 60, "m"],
    [total % 60, "s"],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return "0s";
  return parts
    .slice(first, first + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count}${unit}`)
    .join(" ");
}

/** A share, `0.0123` → `1.23 %`. */
export function formatShare(share: number): string {
  return `${trimmed(share * 100, 3)} %`;
}

/** Unit of a value as panels name it. */
export type Unit = "none" | "ms" | "bytes" | "percent" | "share" | "seconds" | "per_second";

/** A value in its unit. */
export function formatUnit(value: number, unit: Unit | string | undefined): string {
  switch (unit) {
    case "ms":
      return formatMs(value);
    case "bytes":
      return formatBytes(value);
    case "percent":
      return `${trimmed(value, 3)} %`;
    case "share":
      return formatShare(value);
    case "seconds":
      return formatMs(value * 1000);
    case "per_second":
      return `${formatShort(value)}/s`;
    default:
      return formatShort(value);
  }
}

function trimmed(value: number, digits: number): string {
  if (value === 0) return "0";
  const text = Math.abs(value) >= 10 ** digits ? value.toFixed(0) : value.toPrecision(digits);
  return text.includes(".") && !text.includes("e") ? text.replace(/\.?0+$/, "") : String(Number(text));
}
