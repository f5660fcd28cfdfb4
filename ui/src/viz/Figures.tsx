/** Single numbers: as large as their box allows, with the way they came as a quiet line behind. */
import { cx } from "@/lib/cx";
import { formatNumber } from "@/lib/format";
import { Sign } from "@/ui/Severity";
import { formatValue } from "./cells";
import { token } from "./palette";
import { type Figure, toneOf } from "./shape";
import type { VizSpec } from "./Visualisation";

const TEXT = { ok: "text-ok", warning: "text-warning", critical: "text-critical" } as const;
const REDUCED = { last: "last", sum: "in all", avg: "on average", max: "at most", min: "at least" } as const;

/** The path of a line over a box of 100 × 100, broken where values are missing. */
export function trendPath(values: (number | null)[]): string {
  const known = values.filter((value) => value !== null);
  if (known.length < 2) return "";
  const high = Math.max(...known);
  const low = Math.min(...known, 0);
  const span = high - low || 1;
  let path = "";
  let open = false;
  for (const [index, value] of values.entries()) {
    if (value === null) {
      open = false;
      continue;
    }
    const x = (index / (values.length - 1)) * 100;
    const y = 98 - ((value - low) / span) * 96;
    path += `${open ? "L" : "M"}${x.toFixed(2)} ${y.toFixed(2)}`;
    open = true;
  }
  return path;
}

export function Figures({ figures, spec }: { figures: Figure[]; spec: VizSpec }) {
  const single = figures.length === 1;
  return (
    <ul
      className="grid min-h-0 flex-1 gap-1 overflow-auto"
      style={{ gridTemplateColumns: single ? "1fr" : "repeat(auto-fit, minmax(8.5rem, 1fr))" }}
    >
      {figures.map((figure) => {
        const tone = toneOf(figure.value, spec.thresholds);
        const colour = token(tone ? `--${tone}` : "--accent");
        const path = trendPath(figure.trend);
        const text = figure.exact ? formatNumber(BigInt(figure.exact)) : formatValue(figure.value, spec.unit);
        return (
          <li
            key={figure.name}
            className="relative flex min-h-16 min-w-0 flex-col items-center justify-center overflow-hidden rounded-md px-2 [container-type:size]"
          >
            {path ? (
              <svg
                viewBox="0 0 100 100"
                preserveAspectRatio="none"
                aria-hidden="true"
                className="absolute inset-x-0 bottom-0 h-[42%] w-full opacity-70"
              >
                <path d={path} fill="none" stroke={colour} strokeWidth={1.5} vectorEffect="non-scaling-stroke" />
              </svg>
            ) : null}
            <span
              className={cx(
                "tnum relative flex max-w-full items-center gap-[0.25em] truncate font-semibold",
                tone ? TEXT[tone] : "text-fg",
              )}
              style={{
                fontSize: `clamp(1.125rem, min(${Math.min(22, 128 / (Math.max(text.length, 4) + 1.5))}cqw, 38cqh), 3.5rem)`,
                lineHeight: 1.15,
              }}
            >
              {tone ? <Sign of={tone} size={16} className="shrink-0" /> : null}
              <span className="truncate">{text}</span>
            </span>
            <span className="relative max-w-full truncate text-xs text-muted">
              {single ? null : figure.name}
              {figure.reduced && figure.reduced !== "last" ? `${single ? "" : " · "}${REDUCED[figure.reduced]}` : null}
            </span>
          </li>
        );
      })}
    </ul>
  );
}
