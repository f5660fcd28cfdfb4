/** Live tail: records as they become findable. It can be paused and goes on where it was; what is missing is said. */
import { Pause, Play, Search, Trash2, X } from "lucide-react";
import { useEffect, useMemo, useReducer, useRef, useState, useSyncExternalStore } from "react";
import type { Cell } from "@/api/query";
import { formatNumber, formatShort } from "@/lib/format";
import { useShortcuts } from "@/lib/keys";
import { formatTime, toRfc3339, useZone } from "@/lib/time";
import { useWidth, WIDTHS } from "@/lib/width";
import { Button, IconButton } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Badge } from "@/ui/Severity";
import { Empty } from "@/ui/States";
import { RecordPanel } from "../detail/RecordPanel";
import { tailLine } from "../line/shape";
import { markerOf } from "../rows/highlight";
import { type ListHandle, LogList } from "../rows/LogList";
import { idOf, type LogRow } from "../rows/record";
import { TAIL_ROWS_MAX } from "./buffer";
import { type TailLink, useTail } from "./useTail";

interface Props {
  line: string;
  columns: readonly string[];
  onColumns: (columns: string[]) => void;
  isWrapped: boolean;
  onFilter: (field: string, value: Cell, exclude: boolean) => void;
  onClose: () => void;
  onAsk: (query: string) => void;
}

const ESCAPE = "Escape";

const LINKS: Record<TailLink, { text: string; tone: "ok" | "quiet" | "critical" }> = {
  live: { text: "Live", tone: "ok" },
  connecting: { text: "Connecting", tone: "quiet" },
  lost: { text: "Connection lost, trying again", tone: "critical" },
};

export function TailView({ line, columns, onColumns, isWrapped, onFilter, onClose, onAsk }: Props) {
  const { query, dropped } = useMemo(() => tailLine(line), [line]);
  const { buffer, link, holes } = useTail(query);
  useSyncExternalStore(buffer.subscribe, () => buffer.version);
  const [, tick] = useReducer((count: number) => count + 1, 0);
  useEffect(() => {
    const timer = setInterval(tick, 1000);
    return () => clearInterval(timer);
  }, []);
  const zone = useZone((state) => state.zone);
  const isNarrow = useWidth() < WIDTHS.md;
  const list = useRef<ListHandle>(null);
  const [open, setOpen] = useState<LogRow | null>(null);
  const marker = useMemo(() => markerOf(query), [query]);
  const activeAt = open ? placeOf(buffer, open) : null;
  const toggle = (): void => (buffer.isPaused ? buffer.resume() : buffer.pause());
  const choose = (index: number): void => {
    const row = buffer.at(index);
    if (!row) return;
    // Who looks at a record does not want it to run away.
    buffer.pause();
    setOpen(row);
    list.current?.scrollTo(index);
  };
  const go = (by: number): void => choose(Math.max(0, Math.min(buffer.total - 1, (activeAt ?? -1) + by)));
  useShortcuts({
    " ": toggle,
    p: toggle,
    j: () => go(1),
    k: () => go(-1),
    [ESCAPE]: () => (open ? setOpen(null) : onClose()),
  });
  const now = Date.now();
  const look = LINKS[link];
  const panel = open ? (
    <RecordPanel
      row={open}
      line={query}
      span={{ from: toRfc3339(now - 3_600_000), to: toRfc3339(now) }}
      columns={columns}
      onColumn={(name) =>
        onColumns(columns.includes(name) ? columns.filter((one) => one !== name) : [...columns, name])
      }
      onFilter={onFilter}
      onAsk={onAsk}
      onClose={() => setOpen(null)}
      onStep={go}
      canStep={{ back: (activeAt ?? 0) > 0, on: (activeAt ?? 0) < buffer.total - 1 }}
    />
  ) : null;
  return (
    <section aria-label="Live tail" className="flex min-h-0 flex-1 flex-col">
      <div className="flex min-h-10 flex-wrap items-center gap-x-3 gap-y-1 border-y border-line px-3 py-1">
        <Badge tone={buffer.isPaused ? "warning" : look.tone}>{buffer.isPaused ? "Paused" : look.text}</Badge>
        <span className="tnum text-xs text-muted">
          {formatShort(buffer.rate(now))}/s · {formatNumber(buffer.received)} came
          {buffer.total >= TAIL_ROWS_MAX ? ` · the latest ${formatNumber(TAIL_ROWS_MAX)} are kept` : ""}
        </span>
        <span className="ml-auto flex items-center gap-1.5">
          <Button
            size="sm"
            kind={buffer.isPaused ? "primary" : "plain"}
            icon={buffer.isPaused ? Play : Pause}
            onClick={toggle}
            title="p"
          >
            {buffer.isPaused
              ? buffer.waitingCount > 0
                ? `Go on with ${formatNumber(buffer.waitingCount)}`
                : "Go on"
              : "Pause"}
          </Button>
          <IconButton icon={Trash2} label="Empty the list" size="sm" onClick={() => buffer.clear()} />
          <Button size="sm" icon={X} onClick={onClose} title="t">
            Back to the search
          </Button>
        </span>
      </div>
      {dropped.length > 0 ? (
        <Notice>
          Live tail follows the conditions <code className="font-mono">{query || "*"}</code>; it does not apply{" "}
          {dropped.map((name) => `| ${name}`).join(" ")}.
        </Notice>
      ) : null}
      {buffer.missedBatches > 0 || buffer.droppedWaiting > 0 || holes.length > 0 ? (
        <Notice tone="warning" action={() => onAsk(query)}>
          Not all is here:{" "}
          {[
            buffer.missedBatches > 0
              ? `the server left out ${formatNumber(buffer.missedBatches)} batches because they came faster than this page reads`
              : null,
            buffer.droppedWaiting > 0
              ? `${formatNumber(buffer.droppedWaiting)} records passed by while it was paused`
              : null,
            ...holes.map(
              (hole) => `no connection ${formatTime(hole.from, zone, "clock")}–${formatTime(hole.to, zone, "clock")}`,
            ),
          ]
            .filter(Boolean)
            .join("; ")}
          . All of it is stored.
        </Notice>
      ) : null}
      <div className="flex min-h-0 flex-1">
        {buffer.total === 0 ? (
          <Empty title={link === "live" ? "Waiting for the next record" : look.text} className="flex-1">
            {query ? (
              <>
                Only records that fit <code className="font-mono">{query}</code> are shown.
              </>
            ) : (
              "Every record is shown as it arrives."
            )}
          </Empty>
        ) : (
          <LogList
            ref={list}
            label="Live records"
            rows={buffer}
            columns={columns}
            onColumns={onColumns}
            isWrapped={isWrapped}
            active={activeAt}
            onActive={choose}
            onOpen={choose}
            marker={marker}
          />
        )}
        {panel && !isNarrow ? (
          <aside
            aria-label="Record"
            className="flex w-[min(34rem,42vw)] shrink-0 flex-col border-l border-line bg-surface"
          >
            {panel}
          </aside>
        ) : null}
      </div>
      {isNarrow ? (
        <Dialog open={panel !== null} onOpenChange={(isOpen) => !isOpen && setOpen(null)} title="Record" side wide>
          <div className="-m-4 flex h-full flex-col">{panel}</div>
        </Dialog>
      ) : null}
    </section>
  );
}

/** Where a record stands now; null when it has left the buffer. */
function placeOf(rows: { total: number; at: (index: number) => LogRow | undefined }, row: LogRow): number | null {
  const id = idOf(row);
  for (let index = 0; index < rows.total; index += 1) {
    const one = rows.at(index);
    if (one === row || (one && id !== "" && idOf(one) === id)) return index;
  }
  return null;
}

function Notice({ children, tone, action }: { children: React.ReactNode; tone?: "warning"; action?: () => void }) {
  return (
    <div
      role="status"
      className={`flex items-center gap-2 border-b border-line px-3 py-1.5 text-xs ${tone ? "bg-warning-soft text-warning" : "text-muted"}`}
    >
      <span className="min-w-0 flex-1">{children}</span>
      {action ? (
        <Button size="sm" icon={Search} onClick={action}>
          Search for it
        </Button>
      ) : null}
    </div>
  );
}
