/** A dense table that stays fluid at a hundred thousand rows: only what is seen is in the page.
 *
 * Keyboard: j/k or arrows move, Enter opens, Home/End; the row in hand is `aria-selected`. */
import { useVirtualizer } from "@tanstack/react-virtual";
import { ArrowDown, ArrowUp } from "lucide-react";
import { type KeyboardEvent, type ReactNode, useCallback, useEffect, useRef, useState } from "react";
import { cx } from "@/lib/cx";
import { useWidth, WIDTHS } from "@/lib/width";

export interface TableColumn<Row> {
  id: string;
  header: ReactNode;
  cell: (row: Row, index: number) => ReactNode;
  /** CSS grid track: `8rem`, `minmax(10rem,1fr)`; default `minmax(6rem,1fr)`. */
  width?: string;
  align?: "left" | "right";
  sort?: "asc" | "desc" | null;
  onSort?: () => void;
  /** Left out below this width of the window. */
  from?: "sm" | "md" | "lg";
}

interface Props<Row> {
  label: string;
  columns: TableColumn<Row>[];
  rows: Row[];
  keyOf: (row: Row, index: number) => string;
  rowHeight?: number;
  /** The row in hand, by key. Without `onActive` the table also keeps one of its own. */
  active?: string | null;
  onActive?: (row: Row, index: number) => void;
  onOpen?: (row: Row, index: number) => void;
  /** Called when the end comes near: fetch more. */
  onEnd?: () => void;
  /** Other keys pressed while a row is in hand. */
  onKey?: (event: KeyboardEvent, row: Row) => void;
  rowClass?: (row: Row) => string | undefined;
  footer?: ReactNode;
  className?: string;
}

export function Table<Row>({
  label,
  columns: wanted,
  rows,
  keyOf,
  rowHeight = 32,
  active: given,
  onActive: onGiven,
  onOpen,
  onEnd,
  onKey,
  rowClass,
  footer,
  className,
}: Props<Row>) {
  const box = useRef<HTMLDivElement>(null);
  const [kept, setKept] = useState<string | null>(null);
  const active = onGiven ? given : (given ?? kept);
  const onActive = (row: Row, index: number): void => {
    if (onGiven) onGiven(row, index);
    else setKept(keyOf(row, index));
  };
  const width = useWidth();
  const columns = wanted.filter((column) => !column.from || width >= WIDTHS[column.from]);
  // The same function while the rows are the same: another one makes the virtualizer measure every row again.
  const getItemKey = useCallback(
    (index: number) => {
      const row = rows[index];
      return row === undefined ? index : keyOf(row, index);
    },
    [rows, keyOf],
  );
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => box.current,
    estimateSize: () => rowHeight,
    overscan: 12,
    getItemKey,
  });
  const items = virtual.getVirtualItems();
  const last = items.at(-1)?.index ?? -1;
  useEffect(() => {
    if (onEnd && rows.length > 0 && last >= rows.length - 20) onEnd();
  }, [last, rows.length, onEnd]);

  const at = active ? rows.findIndex((row, index) => keyOf(row, index) === active) : -1;
  const go = (index: number): void => {
    const target = Math.max(0, Math.min(rows.length - 1, index));
    const row = rows[target];
    if (row === undefined) return;
    virtual.scrollToIndex(target);
    onActive(row, target);
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (
      event.target !== event.currentTarget &&
      (event.target as HTMLElement).closest("input,select,textarea,[role=menu]")
    )
      return;
    if (event.metaKey || event.ctrlKey || event.altKey) return;
    const page = Math.max(1, Math.floor((box.current?.clientHeight ?? 0) / rowHeight) - 2);
    const moves: Record<string, number> = {
      j: at + 1,
      ArrowDown: at + 1,
      k: at - 1,
      ArrowUp: at - 1,
      PageDown: at + page,
      PageUp: at - page,
      Home: 0,
      End: rows.length - 1,
    };
    const to = moves[event.key];
    const row = rows[at];
    if (to !== undefined) {
      event.preventDefault();
      go(to);
    } else if (event.key === "Enter" && row !== undefined && onOpen && event.target === event.currentTarget) {
      event.preventDefault();
      onOpen(row, at);
    } else if (row !== undefined) onKey?.(event, row);
  };

  const template = columns.map((column) => column.width ?? "minmax(6rem,1fr)").join(" ");
  return (
    // biome-ignore lint/a11y/useSemanticElements: a virtual table cannot be a <table>
    <div
      ref={box}
      role="grid"
      aria-label={label}
      aria-rowcount={rows.length + 1}
      tabIndex={0}
      onKeyDown={onKeyDown}
      className={cx("min-h-0 flex-1 overflow-auto outline-offset-[-2px]", className)}
    >
      <div className="min-w-max">
        {/* biome-ignore lint/a11y/useSemanticElements: see above */}
        {/* biome-ignore lint/a11y/useFocusableInteractive: the grid is what takes the focus */}
        <div
          role="row"
          aria-rowindex={1}
          className="sticky top-0 z-10 grid items-center border-b border-line bg-surface text-xs font-medium text-muted"
          style={{ gridTemplateColumns: template, height: 30 }}
        >
          {columns.map((column) => (
            // biome-ignore lint/a11y/useSemanticElements: see above
            // biome-ignore lint/a11y/useFocusableInteractive: its button is
            <div
              key={column.id}
              role="columnheader"
              aria-sort={column.sort === "asc" ? "ascending" : column.sort === "desc" ? "descending" : undefined}
              className={cx("truncate px-2", column.align === "right" && "text-right")}
            >
              {column.onSort ? (
                <button
                  type="button"
                  onClick={column.onSort}
                  className="inline-flex items-center gap-0.5 hover:text-fg"
                >
                  {column.header}
                  {column.sort === "asc" ? (
                    <ArrowUp size={12} aria-hidden />
                  ) : column.sort === "desc" ? (
                    <ArrowDown size={12} aria-hidden />
                  ) : null}
                </button>
              ) : (
                column.header
              )}
            </div>
          ))}
        </div>
        <div className="relative" style={{ height: virtual.getTotalSize() }}>
          {items.map((item) => {
            const row = rows[item.index];
            if (row === undefined) return null;
            const key = keyOf(row, item.index);
            return (
              // biome-ignore lint/a11y/useSemanticElements: see above
              // biome-ignore lint/a11y/useKeyWithClickEvents: keys are handled by the grid
              // biome-ignore lint/a11y/useFocusableInteractive: the grid is what takes the focus
              <div
                key={item.key}
                role="row"
                aria-rowindex={item.index + 2}
                aria-selected={key === active}
                onClick={(event) => {
                  if ((event.target as HTMLElement).closest("a,button,input,label")) return;
                  onActive(row, item.index);
                  onOpen?.(row, item.index);
                }}
                className={cx(
                  "absolute inset-x-0 grid items-center border-b border-line/60 text-sm",
                  (onOpen || onGiven) && "cursor-pointer hover:bg-hover",
                  key === active && "bg-selected",
                  rowClass?.(row),
                )}
                style={{ gridTemplateColumns: template, height: item.size, transform: `translateY(${item.start}px)` }}
              >
                {columns.map((column) => (
                  // biome-ignore lint/a11y/useSemanticElements: see above
                  // biome-ignore lint/a11y/useFocusableInteractive: see above
                  <div
                    key={column.id}
                    role="gridcell"
                    className={cx("truncate px-2", column.align === "right" && "tnum text-right")}
                  >
                    {column.cell(row, item.index)}
                  </div>
                ))}
              </div>
            );
          })}
        </div>
        {footer}
      </div>
    </div>
  );
}
