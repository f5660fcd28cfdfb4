/** A list of a million records, of which only those in view are in the page.
 *
 * Keys while it has the focus: arrows, Page Up and Down, Home and End; Enter opens. The page adds j and k. */
import {
  type KeyboardEvent,
  type ReactNode,
  type Ref,
  useCallback,
  useEffect,
  useId,
  useImperativeHandle,
  useLayoutEffect,
  useMemo,
  useReducer,
  useRef,
  useSyncExternalStore,
} from "react";
import { useZone } from "@/lib/time";
import { useWidth, WIDTHS } from "@/lib/width";
import { type Density, usePrefs } from "../prefs";
import { ColumnHead } from "./ColumnHead";
import { Heights } from "./heights";
import { LogLine, WaitingLine } from "./LogLine";
import { type LogRow, msOf } from "./record";
import { ScrollSpace } from "./scroll";

/** What a list shows: a window onto an answer, or the lines of live tail. */
export interface Rows {
  readonly total: number;
  readonly version: number;
  at: (index: number) => LogRow | undefined;
  show: (first: number, last: number) => void;
  subscribe: (listener: () => void) => () => void;
  onShift: ((index: number, by: number) => void) | null;
}

export interface ListHandle {
  scrollTo: (index: number) => void;
  toTop: () => void;
  focus: () => void;
}

interface Props {
  ref?: Ref<ListHandle>;
  label: string;
  rows: Rows;
  columns: readonly string[];
  onColumns?: (columns: string[]) => void;
  isWrapped: boolean;
  active: number | null;
  onActive: (index: number) => void;
  onOpen: (index: number) => void;
  marker: RegExp | null;
  /** Times of the first and the last row in view, when they change. */
  onSeen?: (from: number, to: number) => void;
  footer?: ReactNode;
}

const OVERSCAN = 8;
const HEAD_PX = 28;
/** Scrolling has come to rest. */
const REST_MS = 140;
/** Rows are asked for this often while scrolling; after a jump, when the view has stayed for as long: a drag across a million
 * asks for none of those between. */
const SHOW_MS = 50;

export const ROW_PX: Record<Density, number> = { dense: 22, roomy: 30 };
const NARROW_PX = 42;

/** Width of a column the reader has not set, px. */
export function defaultWidth(name: string): number {
  if (name === "service" || name === "host" || name === "instance") return 168;
  if (/_id$/.test(name) || name === "id") return 220;
  if (name === "timestamp" || name === "observed") return 190;
  return 120;
}

export function LogList({
  ref,
  label,
  rows,
  columns,
  onColumns,
  isWrapped,
  active,
  onActive,
  onOpen,
  marker,
  onSeen,
  footer,
}: Props) {
  const box = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const id = useId();
  const zone = useZone((state) => state.zone);
  const { density, widths } = usePrefs();
  const isNarrow = useWidth() < WIDTHS.sm;
  const rowPx = isNarrow ? NARROW_PX : ROW_PX[density];
  const [, redraw] = useReducer((count: number) => count + 1, 0);
  const version = useSyncExternalStore(rows.subscribe, () => rows.version);
  const space = useRef(new ScrollSpace());
  const heights = useRef(new Heights(rowPx));
  const drawn = useRef({ first: 0, last: -1, offset: 0 });
  const expected = useRef<number | null>(null);
  const timers = useRef<{ rest?: ReturnType<typeof setTimeout>; show?: ReturnType<typeof setTimeout> }>({});
  const seen = useRef(onSeen);
  seen.current = onSeen;

  const template = useMemo(
    () =>
      [
        "30px",
        "192px",
        ...columns.map((name) => {
          const width = widths[name];
          if (name === "message") return `minmax(${width ?? 320}px,1fr)`;
          return `${width ?? defaultWidth(name)}px`;
        }),
        ...(columns.includes("message") ? [] : ["minmax(0,1fr)"]),
      ].join(" "),
    [columns, widths],
  );

  // What heights depend on; measured ones are wrong with another of these.
  const layout = `${rowPx} ${isWrapped} ${template} ${zone}`;
  const laidOut = useRef(layout);
  if (laidOut.current !== layout) {
    laidOut.current = layout;
    const index = heights.current.indexAt(space.current.top);
    heights.current.reset(rowPx);
    space.current.top = heights.current.startOf(index);
  }
  heights.current.setCount(rows.total);
  const viewPx = Math.max(0, (box.current?.clientHeight ?? 600) - HEAD_PX);
  space.current.resize(Math.max(heights.current.total, viewPx), viewPx);

  const range = (): { first: number; last: number } => {
    const { top } = space.current;
    return {
      first: Math.max(0, heights.current.indexAt(top) - OVERSCAN),
      last: Math.min(rows.total - 1, heights.current.indexAt(top + viewPx) + OVERSCAN),
    };
  };
  const { first, last } = range();
  drawn.current = { first, last, offset: space.current.offset };

  const place = useCallback((bar: number): void => {
    const element = box.current;
    if (!element || Math.abs(element.scrollTop - bar) < 0.5) return;
    element.scrollTop = bar;
    expected.current = element.scrollTop;
    space.current.barIs(element.scrollTop);
  }, []);

  const isJumping = useRef(false);
  const show = useCallback((): void => {
    if (timers.current.show !== undefined && !isJumping.current) return;
    clearTimeout(timers.current.show);
    timers.current.show = setTimeout(() => {
      timers.current.show = undefined;
      const view = drawn.current;
      if (view.last < view.first) return;
      rows.show(view.first, view.last);
      const top = heights.current.indexAt(space.current.top);
      const ends = [rows.at(top), rows.at(Math.max(top, view.last - OVERSCAN))];
      const [from, to] = ends.map((row) => (row ? msOf(row) : Number.NaN)) as [number, number];
      if (!Number.isNaN(from + to)) seen.current?.(Math.min(from, to), Math.max(from, to));
    }, SHOW_MS);
  }, [rows]);

  const onScroll = useCallback((): void => {
    const element = box.current;
    if (!element) return;
    if (expected.current !== null && Math.abs(element.scrollTop - expected.current) < 1) {
      expected.current = null;
      return;
    }
    expected.current = null;
    const before = space.current.top;
    space.current.moved(element.scrollTop);
    isJumping.current = Math.abs(space.current.top - before) > element.clientHeight * 2;
    if (space.current.isCramped) place(space.current.settle());
    clearTimeout(timers.current.rest);
    timers.current.rest = setTimeout(() => {
      place(space.current.settle());
      redraw();
    }, REST_MS);
    const view = drawn.current;
    const seenFirst = heights.current.indexAt(space.current.top);
    const isCovered =
      view.offset === space.current.offset &&
      seenFirst - 2 >= view.first - (view.first === 0 ? 2 : 0) &&
      heights.current.indexAt(space.current.top + element.clientHeight) + 2 <= view.last;
    // Nothing is drawn anew while what is drawn covers the view.
    if (!isCovered) redraw();
    show();
  }, [place, show]);

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    element.addEventListener("scroll", onScroll, { passive: true });
    const observer = new ResizeObserver(() => redraw());
    observer.observe(element);
    return () => {
      element.removeEventListener("scroll", onScroll);
      observer.disconnect();
      clearTimeout(timers.current.rest);
      clearTimeout(timers.current.show);
    };
  }, [onScroll]);

  // Another list starts at its top.
  useEffect(() => {
    heights.current.reset(rowPx);
    space.current.top = 0;
    place(space.current.settle());
    rows.onShift = (index, by) => {
      // Rows above came or went: what is seen stays where it is. Who is at the top stays at the top.
      const { top } = space.current;
      const seenFirst = heights.current.indexAt(top);
      if (index > seenFirst || top < 1) return;
      const into = top - heights.current.startOf(seenFirst);
      // Measured heights belong to other rows now.
      heights.current.reset(rowPx);
      heights.current.setCount(rows.total);
      space.current.resize(Math.max(heights.current.total, viewPxOf(box.current)), viewPxOf(box.current));
      place(space.current.goTo(heights.current.startOf(Math.max(0, seenFirst + by)) + into));
    };
    redraw();
    return () => {
      rows.onShift = null;
    };
  }, [rows, rowPx, place]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: another version means other rows in view
  useEffect(show, [show, version, first, last]);

  // Wrapped rows are as high as they are: measured once drawn, and what is seen kept in place.
  useLayoutEffect(() => {
    if (!isWrapped || !content.current) return;
    let above = 0;
    let changed = false;
    const top = heights.current.indexAt(space.current.top);
    for (const element of content.current.children) {
      const index = Number((element as HTMLElement).dataset.index);
      if (!rows.at(index)) continue;
      const by = heights.current.set(index, Math.ceil((element as HTMLElement).offsetHeight));
      if (by !== 0) changed = true;
      if (index < top) above += by;
    }
    if (!changed) return;
    space.current.resize(Math.max(heights.current.total, viewPxOf(box.current)), viewPxOf(box.current));
    if (above !== 0) place(space.current.goTo(space.current.top + above));
    redraw();
  });

  const scrollTo = useCallback(
    (index: number): void => {
      const [start, size] = [heights.current.startOf(index), heights.current.sizeOf(index)];
      const view = viewPxOf(box.current);
      const { top } = space.current;
      if (start < top) place(space.current.goTo(start));
      else if (start + size > top + view) place(space.current.goTo(start + size - view));
      else return;
      redraw();
      show();
    },
    [place, show],
  );
  useImperativeHandle(
    ref,
    () => ({
      scrollTo,
      toTop: () => {
        place(space.current.goTo(0));
        redraw();
        show();
      },
      focus: () => box.current?.focus({ preventScroll: true }),
    }),
    [scrollTo, place, show],
  );

  const go = (index: number): void => {
    const target = Math.max(0, Math.min(rows.total - 1, index));
    scrollTo(target);
    onActive(target);
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.target !== event.currentTarget || event.metaKey || event.ctrlKey || event.altKey) return;
    const at = active ?? -1;
    const page = Math.max(1, Math.floor(viewPx / rowPx) - 2);
    const moves: Record<string, number> = {
      ArrowDown: at + 1,
      ArrowUp: at - 1,
      PageDown: Math.max(0, at) + page,
      PageUp: at - page,
      Home: 0,
      End: rows.total - 1,
    };
    const to = moves[event.key];
    if (to === undefined) return;
    event.preventDefault();
    go(to);
  };

  // Rows that leave make place for those that come: their elements are used again.
  const slots = Math.ceil(viewPx / rowPx) + 2 * OVERSCAN + 4;
  const items: ReactNode[] = [];
  for (let index = first; index <= last; index += 1) {
    const row = rows.at(index);
    const top = heights.current.startOf(index) - space.current.offset;
    items.push(
      <div
        key={index % slots}
        data-index={index}
        className="absolute inset-x-0"
        style={{ transform: `translateY(${top}px)` }}
      >
        {row ? (
          <LogLine
            id={`${id}-${index}`}
            row={row}
            index={index}
            columns={columns}
            zone={zone}
            isActive={index === active}
            isWrapped={isWrapped}
            isNarrow={isNarrow}
            rowPx={rowPx}
            template={template}
            marker={marker}
          />
        ) : (
          <WaitingLine index={index} rowPx={rowPx} />
        )}
      </div>,
    );
  }

  return (
    // biome-ignore lint/a11y/useSemanticElements: a virtual list cannot be a table
    <div
      ref={box}
      role="grid"
      aria-label={label}
      aria-rowcount={rows.total + 1}
      aria-activedescendant={active === null ? undefined : `${id}-${active}`}
      tabIndex={0}
      onKeyDown={onKeyDown}
      onClick={(event) => {
        const target = (event.target as HTMLElement).closest<HTMLElement>("[data-index]");
        if (!target || window.getSelection()?.type === "Range") return;
        const index = Number(target.dataset.index);
        onActive(index);
        onOpen(index);
      }}
      className="min-h-0 min-w-0 flex-1 overflow-auto outline-offset-[-2px] [overflow-anchor:none]"
    >
      <div className={isNarrow ? "" : "min-w-max"}>
        <ColumnHead columns={columns} onColumns={onColumns} template={template} height={HEAD_PX} isNarrow={isNarrow} />
        <div ref={content} className="relative" style={{ height: space.current.physical }}>
          {items}
        </div>
        {footer}
      </div>
    </div>
  );
}

function viewPxOf(element: HTMLElement | null): number {
  return Math.max(0, (element?.clientHeight ?? 600) - HEAD_PX);
}
