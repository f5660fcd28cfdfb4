/** Heads of the columns: their names, an edge to drag, a menu to move and remove them. */
import { ArrowLeft, ArrowRight, MoreVertical, RotateCcw, X, ZoomIn, ZoomOut } from "lucide-react";
import type { PointerEvent } from "react";
import { Menu } from "@/ui/Menu";
import { usePrefs } from "../prefs";
import { defaultWidth } from "./LogList";

const WIDTH_MIN = 60;
const WIDTH_MAX = 1200;

interface Props {
  columns: readonly string[];
  onColumns?: (columns: string[]) => void;
  template: string;
  height: number;
  isNarrow: boolean;
}

export function ColumnHead({ columns, onColumns, template, height, isNarrow }: Props) {
  return (
    // biome-ignore lint/a11y/useSemanticElements: a virtual list cannot be a table
    // biome-ignore lint/a11y/useFocusableInteractive: its buttons are
    <div
      role="row"
      aria-rowindex={1}
      className="sticky top-0 z-10 grid items-center border-b border-line bg-surface text-xs font-medium text-muted"
      style={{ gridTemplateColumns: isNarrow ? "1fr" : template, height }}
    >
      {isNarrow ? (
        <Head>
          <span className="px-3">Time, {columns.join(", ")}</span>
        </Head>
      ) : (
        <>
          <Head>
            <span className="sr-only">Level</span>
          </Head>
          <Head>
            <span className="px-2">Time</span>
          </Head>
          {columns.map((name, index) => (
            <Head key={name}>
              <span className="truncate px-2 font-mono" title={name}>
                {name}
              </span>
              {onColumns ? <ColumnMenu name={name} index={index} columns={columns} onColumns={onColumns} /> : null}
              <Edge name={name} />
            </Head>
          ))}
        </>
      )}
    </div>
  );
}

function Head({ children }: { children: React.ReactNode }) {
  return (
    // biome-ignore lint/a11y/useSemanticElements: a virtual list cannot be a table
    // biome-ignore lint/a11y/useFocusableInteractive: its buttons are
    <div role="columnheader" className="group relative flex min-w-0 items-center">
      {children}
    </div>
  );
}

function ColumnMenu({
  name,
  index,
  columns,
  onColumns,
}: {
  name: string;
  index: number;
  columns: readonly string[];
  onColumns: (columns: string[]) => void;
}) {
  const { widths, set } = usePrefs();
  const move = (by: number): void => {
    const next = columns.filter((_, place) => place !== index);
    next.splice(index + by, 0, name);
    onColumns(next);
  };
  const width = widths[name] ?? (name === "message" ? 320 : defaultWidth(name));
  const resize = (px: number): void =>
    set({ widths: { ...widths, [name]: Math.max(WIDTH_MIN, Math.min(WIDTH_MAX, px)) } });
  return (
    <Menu
      align="start"
      trigger={
        <button
          type="button"
          aria-label={`Column ${name}`}
          className="rounded p-0.5 text-faint opacity-0 group-hover:opacity-100 hover:bg-hover hover:text-fg focus-visible:opacity-100 data-[state=open]:opacity-100"
        >
          <MoreVertical size={13} aria-hidden />
        </button>
      }
      items={[
        { label: "Move left", icon: ArrowLeft, disabled: index === 0, onSelect: () => move(-1) },
        { label: "Move right", icon: ArrowRight, disabled: index === columns.length - 1, onSelect: () => move(1) },
        null,
        { label: "Wider", icon: ZoomIn, onSelect: () => resize(width + 60) },
        { label: "Narrower", icon: ZoomOut, onSelect: () => resize(width - 60) },
        {
          label: "Usual width",
          icon: RotateCcw,
          disabled: widths[name] === undefined,
          onSelect: () => set({ widths: Object.fromEntries(Object.entries(widths).filter(([key]) => key !== name)) }),
        },
        null,
        {
          label: "Remove column",
          icon: X,
          disabled: columns.length === 1,
          onSelect: () => onColumns(columns.filter((one) => one !== name)),
        },
      ]}
    />
  );
}

function Edge({ name }: { name: string }) {
  const onPointerDown = (event: PointerEvent<HTMLSpanElement>): void => {
    event.preventDefault();
    const start = event.clientX;
    const before = event.currentTarget.parentElement?.offsetWidth ?? defaultWidth(name);
    const { currentTarget, pointerId } = event;
    currentTarget.setPointerCapture(pointerId);
    const onMove = (move: globalThis.PointerEvent): void => {
      const { widths, set } = usePrefs.getState();
      const px = Math.max(WIDTH_MIN, Math.min(WIDTH_MAX, Math.round(before + move.clientX - start)));
      set({ widths: { ...widths, [name]: px } });
    };
    const onUp = (): void => {
      currentTarget.removeEventListener("pointermove", onMove);
      currentTarget.removeEventListener("pointerup", onUp);
    };
    currentTarget.addEventListener("pointermove", onMove);
    currentTarget.addEventListener("pointerup", onUp);
  };
  return (
    <span
      aria-hidden
      onPointerDown={onPointerDown}
      className="absolute inset-y-1 right-0 w-1.5 cursor-col-resize touch-none rounded border-r border-line hover:bg-accent/40"
    />
  );
}
