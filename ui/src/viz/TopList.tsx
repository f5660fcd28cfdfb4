/** Named values, the largest first, each with a bar of its size. */
import { cx } from "@/lib/cx";
import { formatNumber, formatShare } from "@/lib/format";
import { SeverityBadge } from "@/ui/Severity";
import { formatValue } from "./cells";
import { namedColour, token } from "./palette";
import { isAdditive, type Slices, toneOf } from "./shape";
import type { VizSpec } from "./Visualisation";

export function TopList({
  shape,
  spec,
  label,
  onSelectValue,
}: {
  shape: Slices;
  spec: VizSpec;
  label: string;
  onSelectValue?: (column: string, value: string) => void;
}) {
  const most = Math.max(...shape.slices.map((slice) => Math.abs(slice.value)), 0) || 1;
  const shares = isAdditive(shape.value) && shape.total > 0 && shape.slices.length > 1;
  const level = shape.column?.type === "level";
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a list that scrolls must be reachable
    <ol aria-label={label} tabIndex={0} className="min-h-0 flex-1 overflow-auto text-sm">
      {shape.slices.map((slice) => {
        const tone = toneOf(slice.value, spec.thresholds);
        const colour = tone ? token(`--${tone}`) : (namedColour(slice.name) ?? token("--accent"));
        const by = slice.by;
        const exact =
          typeof slice.cell === "string" && /^-?\d+$/.test(slice.cell) && !Number.isSafeInteger(slice.value);
        const name = level ? <SeverityBadge of={slice.name} soft={false} /> : slice.name;
        return (
          <li key={slice.name} className="relative flex h-7 items-center gap-2 px-2">
            <span
              aria-hidden
              className="absolute inset-y-0.5 left-0 rounded-sm opacity-18"
              style={{ width: `${(Math.abs(slice.value) / most) * 100}%`, background: colour }}
            />
            {by && onSelectValue ? (
              <button
                type="button"
                title={slice.name}
                onClick={() => onSelectValue(by[0], by[1])}
                className="relative min-w-0 flex-1 truncate text-left hover:text-accent hover:underline"
              >
                {name}
              </button>
            ) : (
              <span
                title={slice.name}
                className={cx("relative min-w-0 flex-1 truncate", slice.others !== undefined && "text-muted")}
              >
                {name}
              </span>
            )}
            <span
              className={cx(
                "tnum relative font-medium",
                tone === "critical" && "text-critical",
                tone === "warning" && "text-warning",
              )}
            >
              {exact ? formatNumber(BigInt(slice.cell as string)) : formatValue(slice.value, spec.unit)}
            </span>
            {shares ? (
              <span className="tnum relative w-13 text-right text-xs text-muted">
                {formatShare(slice.value / shape.total)}
              </span>
            ) : null}
          </li>
        );
      })}
    </ol>
  );
}
