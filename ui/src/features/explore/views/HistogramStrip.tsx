/** Records by time and level: drag to look closer, press a level to see it alone. The part of the time that the list shows is
 * marked. Drawn without a library, so that it is there at once. */
import { Table2, X } from "lucide-react";
import { type PointerEvent, useMemo, useRef, useState } from "react";
import { cx } from "@/lib/cx";
import { formatNumber, formatShort } from "@/lib/format";
import { formatTime, toRfc3339, useZone } from "@/lib/time";
import { useElementWidth } from "@/lib/useElementWidth";
import { IconButton } from "@/ui/Button";
import { Popover } from "@/ui/Menu";
import { Sign } from "@/ui/Severity";
import { Skeleton } from "@/ui/States";
import { Table } from "@/ui/Table";
import type { Histogram } from "../run/useRun";
import { type Bucket, bucketsOf, LEVELS, NO_LEVEL, roundUp, ticksOf, totalsOf } from "./histogram";
import { useSeen } from "./seen";

const FILLS: Record<string, string> = {
  fatal: "var(--fatal)",
  error: "var(--critical)",
  warn: "var(--warning)",
  info: "var(--info)",
  debug: "var(--faint)",
  trace: "var(--line-strong)",
  none: "var(--line-strong)",
};
/** From the bottom up: what is worst stands on the ground, where heights compare. */
const STACK = [...LEVELS, NO_LEVEL];
const HEIGHT = 72;
const AXIS = 18;
const DRAG_PX_MIN = 4;

interface Props {
  histogram: Histogram | null;
  isBusy: boolean;
  onRange: (range: { from: string; to: string }) => void;
  onLevel: (level: string, exclude: boolean) => void;
  onHide: () => void;
}

export function HistogramStrip({ histogram, isBusy, onRange, onLevel, onHide }: Props) {
  const zone = useZone((state) => state.zone);
  const buckets = useMemo(() => (histogram ? bucketsOf(histogram.answer) : []), [histogram]);
  const totals = useMemo(() => totalsOf(buckets), [buckets]);
  const box = useRef<HTMLDivElement>(null);
  const width = useElementWidth(box);
  return (
    <section aria-label="Records by time" className="border-b border-line px-4 pt-1 pb-1">
      <div className="flex min-h-7 flex-wrap items-center gap-x-3 gap-y-0.5 text-xs">
        <span className="tnum font-semibold" role="status">
          {histogram ? `${formatNumber(histogram.total)} records` : isBusy ? "Counting…" : "Not counted"}
        </span>
        {totals.map(({ level, count }) => (
          <button
            key={level}
            type="button"
            onClick={(event) => onLevel(level, event.altKey || event.shiftKey)}
            title={`Only ${level}; with Shift or Alt: without it`}
            className="tnum inline-flex items-center gap-1 rounded px-1 text-muted hover:bg-hover hover:text-fg"
          >
            <Sign of={level} size={12} />
            {level === NO_LEVEL ? "no level" : level} {formatShort(count)}
          </button>
        ))}
        <span className="ml-auto flex items-center">
          {histogram ? <span className="mr-1 text-faint max-sm:hidden">{histogram.span} a bar</span> : null}
          <Popover
            label="Counts as a table"
            align="end"
            trigger={<IconButton icon={Table2} label="Counts as a table" size="sm" disabled={!histogram} />}
            className="flex h-80 w-md flex-col p-0"
          >
            <CountsTable buckets={buckets} levels={totals.map((one) => one.level)} zone={zone} />
          </Popover>
          <IconButton icon={X} label="Hide the histogram" size="sm" onClick={onHide} />
        </span>
      </div>
      <div ref={box} className="relative" style={{ height: HEIGHT + AXIS }}>
        {histogram && width > 0 ? (
          <Bars
            histogram={histogram}
            buckets={buckets}
            width={width}
            zone={zone}
            dimmed={isBusy}
            onRange={(from, to) => onRange({ from: toRfc3339(from), to: toRfc3339(to) })}
          />
        ) : isBusy ? (
          <Skeleton rows={3} className="px-0 py-1" />
        ) : null}
      </div>
    </section>
  );
}

interface BarsProps {
  histogram: Histogram;
  buckets: Bucket[];
  width: number;
  zone: string;
  dimmed: boolean;
  onRange: (from: number, to: number) => void;
}

function Bars({ histogram, buckets, width, zone, dimmed, onRange }: BarsProps) {
  const { from, to, ms } = histogram;
  const [drag, setDrag] = useState<{ start: number; end: number } | null>(null);
  const [hover, setHover] = useState<Bucket | null>(null);
  const high = roundUp(buckets.reduce((most, bucket) => Math.max(most, bucket.total), 0));
  const x = (at: number): number => ((Math.max(from, Math.min(to, at)) - from) / (to - from)) * width;
  const timeAt = (px: number): number => from + (Math.max(0, Math.min(width, px)) / width) * (to - from);
  const local = (event: PointerEvent): number => event.clientX - event.currentTarget.getBoundingClientRect().left;
  const onMove = (event: PointerEvent): void => {
    const px = local(event);
    if (drag) setDrag({ ...drag, end: px });
    const at = timeAt(px);
    setHover(buckets.find((bucket) => at >= bucket.at && at < bucket.at + ms) ?? null);
  };
  const onUp = (): void => {
    if (!drag) return;
    setDrag(null);
    const [low, up] = [Math.min(drag.start, drag.end), Math.max(drag.start, drag.end)];
    if (up - low >= DRAG_PX_MIN) onRange(timeAt(low), timeAt(up));
    else if (hover) onRange(Math.max(from, hover.at), Math.min(to, hover.at + ms));
  };
  const peak = buckets.reduce<Bucket | null>((most, one) => (!most || one.total > most.total ? one : most), null);
  const words = peak
    ? `${formatNumber(histogram.total)} records by time, most at ${formatTime(peak.at, zone)}: ${formatNumber(peak.total)} in ${histogram.span}. Drag to choose a time.`
    : "No records in this time.";
  return (
    <>
      <svg
        width={width}
        height={HEIGHT + AXIS}
        role="img"
        aria-label={words}
        className={cx("block cursor-crosshair touch-none select-none transition-opacity", dimmed && "opacity-60")}
        onPointerDown={(event) => {
          event.currentTarget.setPointerCapture(event.pointerId);
          setDrag({ start: local(event), end: local(event) });
        }}
        onPointerMove={onMove}
        onPointerUp={onUp}
        onPointerLeave={() => setHover(null)}
        onPointerCancel={() => setDrag(null)}
      >
        <line x1={0} x2={width} y1={HEIGHT - 0.5} y2={HEIGHT - 0.5} stroke="var(--line-strong)" />
        <line x1={0} x2={width} y1={2.5} y2={2.5} stroke="var(--line)" strokeDasharray="2 3" />
        {hover ? (
          <rect x={x(hover.at)} y={0} width={x(hover.at + ms) - x(hover.at)} height={HEIGHT} fill="var(--hover)" />
        ) : null}
        {buckets.map((bucket) => (
          <Bar key={bucket.at} bucket={bucket} left={x(bucket.at)} right={x(bucket.at + ms)} high={high} />
        ))}
        <text x={width} y={12} textAnchor="end" fontSize={10} fill="var(--muted)" className="tnum">
          {formatShort(high)}
        </text>
        {ticksOf(from, to, Math.max(2, Math.floor(width / 130))).map((at) => (
          <text
            key={at}
            x={x(at)}
            y={HEIGHT + 13}
            textAnchor={x(at) > width - 40 ? "end" : "start"}
            fontSize={10}
            fill="var(--muted)"
            className="tnum"
          >
            {to - from > 2 * 86_400_000
              ? formatTime(at, zone, "minute").slice(5)
              : formatTime(at, zone, "clock").slice(0, to - from < 600_000 ? 8 : 5)}
          </text>
        ))}
        <SeenMark x={x} />
        {drag ? (
          <rect
            x={Math.min(drag.start, drag.end)}
            y={0}
            width={Math.abs(drag.end - drag.start)}
            height={HEIGHT}
            fill="var(--accent)"
            opacity={0.22}
            stroke="var(--accent)"
          />
        ) : null}
      </svg>
      {hover && !drag ? (
        <div
          className="pointer-events-none absolute top-0 z-20 rounded-md border border-line bg-raised px-2 py-1 text-xs shadow-pop"
          style={x(hover.at) > width / 2 ? { right: width - x(hover.at) + 6 } : { left: x(hover.at + ms) + 6 }}
        >
          <div className="font-medium">{formatTime(Math.max(from, hover.at), zone)}</div>
          {STACK.filter((level) => hover.counts[level]).map((level) => (
            <div key={level} className="tnum flex items-center gap-1.5 text-muted">
              <Sign of={level} size={11} />
              <span className="flex-1">{level}</span>
              <span className="text-fg">{formatNumber(hover.counts[level] ?? 0)}</span>
            </div>
          ))}
        </div>
      ) : null}
    </>
  );
}

/** Marks the part of the time that the list shows. */
function SeenMark({ x }: { x: (at: number) => number }) {
  const span = useSeen((state) => state.span);
  if (!span) return null;
  const left = x(span.from);
  return (
    <rect x={left} y={HEIGHT} width={Math.max(3, x(span.to) - left)} height={3} rx={1.5} fill="var(--accent)">
      <title>What the list shows</title>
    </rect>
  );
}

function Bar({ bucket, left, right, high }: { bucket: Bucket; left: number; right: number; high: number }) {
  let y = HEIGHT - 1;
  const gap = right - left > 3 ? 1 : 0;
  return (
    <>
      {STACK.map((level) => {
        const count = bucket.counts[level];
        if (!count) return null;
        // A few errors among thousands must still be seen.
        const px = Math.max(level === "error" || level === "fatal" ? 2 : 1, (count / high) * (HEIGHT - 4));
        y -= px;
        return (
          <rect key={level} x={left} y={y} width={Math.max(1, right - left - gap)} height={px} fill={FILLS[level]} />
        );
      })}
    </>
  );
}

function CountsTable({ buckets, levels, zone }: { buckets: Bucket[]; levels: string[]; zone: string }) {
  return (
    <Table
      label="Records by time and level"
      rows={buckets}
      keyOf={(bucket) => String(bucket.at)}
      rowHeight={26}
      columns={[
        { id: "time", header: "Time", width: "10rem", cell: (bucket) => formatTime(bucket.at, zone) },
        ...levels.map((level) => ({
          id: level,
          header: level,
          width: "4.5rem",
          align: "right" as const,
          cell: (bucket: Bucket) => formatNumber(bucket.counts[level] ?? 0),
        })),
        {
          id: "total",
          header: "all",
          width: "5rem",
          align: "right" as const,
          cell: (bucket: Bucket) => formatNumber(bucket.total),
        },
      ]}
    />
  );
}
