/** One record in the list. Drawn by the hundred while scrolling, so it does little and is kept while its record is. */
import { memo } from "react";
import type { Cell } from "@/api/query";
import { cx } from "@/lib/cx";
import { formatTime } from "@/lib/time";
import { Sign } from "@/ui/Severity";
import { marked } from "./highlight";
import { fieldOf, type LogRow, text } from "./record";

const BARS: Record<string, string> = {
  fatal: "bg-fatal",
  error: "bg-critical",
  warn: "bg-warning",
  info: "bg-info/60",
  debug: "bg-line-strong",
  trace: "bg-line",
};

const TIMES = new Set(["timestamp", "observed", "first_seen", "last_seen"]);

interface Props {
  row: LogRow;
  index: number;
  columns: readonly string[];
  zone: string;
  isActive: boolean;
  isWrapped: boolean;
  isNarrow: boolean;
  rowPx: number;
  template: string;
  marker: RegExp | null;
  id: string;
}

/** Times of one list are close together: those formatted last are kept. */
const times = new Map<string, string>();
const TIMES_KEPT = 4_000;

function clock(time: string, zone: string): string {
  const key = zone + time;
  let found = times.get(key);
  if (found === undefined) {
    if (times.size > TIMES_KEPT) times.clear();
    found = formatTime(time, zone, "ms");
    times.set(key, found);
  }
  return found;
}

function Message({ value, marker, wrap }: { value: string; marker: RegExp | null; wrap: boolean }) {
  // In one line, what follows the first is only hinted at.
  const end = wrap ? -1 : value.indexOf("\n");
  const shown = end < 0 ? value : value.slice(0, end);
  const pieces = marked(shown, marker);
  return (
    <>
      {pieces.map((piece, index) =>
        index % 2 === 1 ? (
          // biome-ignore lint/suspicious/noArrayIndexKey: pieces of a text do not move
          <mark key={index} className="rounded-sm bg-warning-soft text-warning">
            {piece}
          </mark>
        ) : (
          piece
        ),
      )}
      {end < 0 ? null : <span className="ml-1 text-faint">↵ {moreLines(value)}</span>}
    </>
  );
}

function moreLines(value: string): string {
  const count = value.split("\n").length - 1;
  return count === 1 ? "one more line" : `${count} more lines`;
}

/** A cell as the list shows it. */
export function cellText(name: string, value: Cell, zone: string): string {
  if (value === null) return "";
  if (TIMES.has(name)) return clock(String(value), zone);
  return text(value);
}

export const LogLine = memo(function LogLine({
  row,
  index,
  columns,
  zone,
  isActive,
  isWrapped,
  isNarrow,
  rowPx,
  template,
  marker,
  id,
}: Props) {
  const level = text(fieldOf(row, "level"));
  const time = clock(text(fieldOf(row, "timestamp")), zone);
  const bar = <span aria-hidden className={cx("absolute inset-y-px left-0 w-[3px] rounded-r", BARS[level])} />;
  const look = cx(
    "relative cursor-pointer border-b border-line/50 font-mono text-xs hover:bg-hover",
    isActive && "bg-selected hover:bg-selected",
  );
  if (isNarrow) {
    return (
      // biome-ignore lint/a11y/useSemanticElements: a virtual list cannot be a table
      // biome-ignore lint/a11y/useFocusableInteractive: the grid is what takes the focus
      <div
        id={id}
        role="row"
        aria-rowindex={index + 2}
        aria-selected={isActive}
        className={cx(look, "px-3 py-1")}
        style={isWrapped ? { minHeight: rowPx } : { height: rowPx }}
      >
        {bar}
        {/* biome-ignore lint/a11y/useSemanticElements: see above */}
        {/* biome-ignore lint/a11y/useFocusableInteractive: see above */}
        <div role="gridcell" className="flex items-center gap-1.5 text-2xs text-muted">
          <Sign of={level || "unknown"} size={11} />
          <span className="tnum">{time.slice(11)}</span>
          <span className="truncate">
            {columns
              .filter((name) => name !== "message")
              .map((name) => cellText(name, fieldOf(row, name), zone))
              .filter(Boolean)
              .join(" · ")}
          </span>
        </div>
        {/* biome-ignore lint/a11y/useSemanticElements: see above */}
        {/* biome-ignore lint/a11y/useFocusableInteractive: see above */}
        <div role="gridcell" className={isWrapped ? "break-all whitespace-pre-wrap" : "truncate"}>
          <Message value={text(fieldOf(row, "message"))} marker={marker} wrap={isWrapped} />
        </div>
      </div>
    );
  }
  return (
    // biome-ignore lint/a11y/useSemanticElements: a virtual list cannot be a table
    // biome-ignore lint/a11y/useFocusableInteractive: the grid is what takes the focus
    <div
      id={id}
      role="row"
      aria-rowindex={index + 2}
      aria-selected={isActive}
      className={cx(look, "grid", isWrapped ? "items-start" : "items-center")}
      style={{ gridTemplateColumns: template, ...(isWrapped ? { minHeight: rowPx } : { height: rowPx }) }}
    >
      {/* biome-ignore lint/a11y/useSemanticElements: see above */}
      {/* biome-ignore lint/a11y/useFocusableInteractive: see above */}
      <span role="gridcell" className={cx("pl-2.5", isWrapped && "pt-1")}>
        {bar}
        <Sign of={level || "unknown"} size={12} />
      </span>
      {/* biome-ignore lint/a11y/useSemanticElements: see above */}
      {/* biome-ignore lint/a11y/useFocusableInteractive: see above */}
      <span role="gridcell" className={cx("tnum truncate px-2 text-muted", isWrapped && "pt-0.5")}>
        {time}
      </span>
      {columns.map((name) => {
        const value = fieldOf(row, name);
        return (
          // biome-ignore lint/a11y/useSemanticElements: see above
          // biome-ignore lint/a11y/useFocusableInteractive: see above
          <span
            key={name}
            role="gridcell"
            data-field={name}
            className={cx(
              "px-2",
              isWrapped ? "py-0.5 break-all whitespace-pre-wrap" : "truncate",
              name === "service" && "text-accent",
              value === null && "text-faint",
            )}
          >
            {name === "message" ? (
              <Message value={text(value)} marker={marker} wrap={isWrapped} />
            ) : (
              cellText(name, value, zone)
            )}
          </span>
        );
      })}
    </div>
  );
});

/** A row that is on its way. */
export function WaitingLine({ index, rowPx }: { index: number; rowPx: number }) {
  return (
    <div className="flex items-center gap-3 border-b border-line/50 px-3" style={{ height: rowPx }} aria-hidden>
      <div className="h-2.5 w-36 rounded bg-hover" />
      <div className="h-2.5 w-24 rounded bg-hover" />
      <div className="h-2.5 rounded bg-hover" style={{ width: `${30 + ((index * 37) % 40)}%` }} />
    </div>
  );
}
