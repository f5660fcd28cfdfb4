import { useNavigate } from "@tanstack/react-router";
import { ArrowUp, BellRing, Download, RefreshCw } from "lucide-react";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { useUrl } from "@/app/url";
import { useCan } from "@/app/whoami";
import { cx } from "@/lib/cx";
import { formatNumber } from "@/lib/format";
import { useShortcuts } from "@/lib/keys";
import { useWidth, WIDTHS } from "@/lib/width";
import { Button, IconButton } from "@/ui/Button";
import { PageHeader } from "@/ui/Card";
import { Empty, Failed, Partial as PartialNotice, Skeleton, Spinner } from "@/ui/States";
import { Table } from "@/ui/Table";
import { toast } from "@/ui/Toasts";
import { exportCsv } from "./api";
import { type AlertFilter, bulkOf, chipsOf, filterOf, searchOf } from "./filter";
import { Announcer } from "./list/Announcer";
import { BulkBar } from "./list/BulkBar";
import { Cards } from "./list/Cards";
import { columnsOf } from "./list/columns";
import { FilterBar } from "./list/FilterBar";
import { useSelection } from "./list/useSelection";
import { type AlertRow, LIVE_STATUSES } from "./model";
import { SuppressDialog } from "./SuppressDialog";
import { alerts, leads, type Step, type StepWords } from "./steps";
import { useFeed } from "./useFeed";
import { useSteps } from "./useSteps";

const idOf = (row: AlertRow): string => row.id;

/** How far down the list new rows wait instead of moving what is read, px. */
const TOP_PX = 8;

export function AlertsPage() {
  const { search, set } = useUrl();
  const navigate = useNavigate();
  const filter = useMemo(() => filterOf(search), [search]);
  const state = useFeed(filter);
  const { feed } = state;
  const { step, all, bulk } = useSteps(feed, state.touch);
  const selection = useSelection(feed, feed.rows);
  const [active, setActive] = useState<string | null>(null);
  const [suppress, setSuppress] = useState<AlertRow[] | "all" | null>(null);
  const list = useRef<HTMLDivElement>(null);
  const lastAt = useRef(0);
  const width = useWidth();
  const can = useCan("alerts:write");
  const disabled = can ? null : "It needs a token with the scope alerts:write";

  const change = useCallback(
    (changes: Partial<AlertFilter>, options?: { replace?: boolean }) =>
      set(searchOf({ ...filter, ...changes }), options),
    [filter, set],
  );

  // Another filter shows other rows: from their top.
  const key = JSON.stringify(filter);
  // biome-ignore lint/correctness/useExhaustiveDependencies: what is chosen belongs to the filter
  useEffect(() => {
    selection.clear();
    state.hold.current = false;
    grid(list.current)?.scrollTo({ top: 0 });
  }, [key]);

  // The row in hand left the list: the one in its place is taken.
  const at = active === null ? -1 : feed.rows.findIndex((row) => row.id === active);
  useEffect(() => {
    if (at >= 0) lastAt.current = at;
    else if (active !== null) setActive(feed.rows[Math.min(lastAt.current, feed.rows.length - 1)]?.id ?? null);
  }, [at, active, feed.rows]);

  const chosen = (): AlertRow[] => {
    if (selection.count > 0) return selection.rows();
    const row = feed.rows[at];
    return row ? [row] : [];
  };
  const act = (name: Step): void => {
    if (!can || bulk) return;
    if (name === "suppress") {
      const rows = selection.isAll ? "all" : chosen().filter((row) => leads("suppress", row.status));
      if (rows === "all" || rows.length > 0) setSuppress(rows);
      return;
    }
    if (selection.isAll) void all(filter, name).then(selection.clear);
    else {
      const rows = chosen();
      if (rows.length > 0) void step(rows, name).then(selection.count > 0 ? selection.clear : undefined);
    }
  };
  const onRowStep = useCallback(
    (row: AlertRow, name: Step) => {
      if (name === "suppress") setSuppress([row]);
      else void step([row], name);
    },
    [step],
  );
  const open = (row: AlertRow): void => void navigate({ to: "/alerts/$id", params: { id: row.id } });

  const openActive = (): void => {
    const row = feed.rows[at];
    if (row) open(row);
  };
  const forward = (pressed: string) => (): void => press(grid(list.current), pressed);
  useShortcuts({
    j: forward("j"),
    k: forward("k"),
    ArrowDown: forward("j"),
    ArrowUp: forward("k"),
    Enter: openActive,
    x: () => {
      const row = feed.rows[at];
      if (row) selection.toggle(row.id, at, false);
    },
    a: () => act("acknowledge"),
    s: () => act("suppress"),
    e: () => act("resolve"),
    o: () => act("reopen"),
    Escape: selection.clear,
    r: state.reload,
    n: () => backToTop(),
  });

  const backToTop = (): void => {
    state.hold.current = false;
    state.release();
    grid(list.current)?.scrollTo({ top: 0 });
  };
  const onScroll = (): void => {
    const top = grid(list.current)?.scrollTop ?? 0;
    const hold = top > TOP_PX;
    if (state.hold.current && !hold && feed.waitingCount > 0) state.release();
    state.hold.current = hold;
  };

  const columns = columnsOf({
    filter,
    selection,
    width,
    disabled,
    onSort: (sort) => change({ sort }),
    onStep: onRowStep,
  });
  const waiting = feed.waitingCount;
  const total = `${formatNumber(feed.rows.length)}${feed.next ? "+" : ""}`;
  return (
    <div className="flex min-h-0 flex-1 flex-col">
      <PageHeader
        title="Alerts"
        hint={state.phase === "ready" ? <span className="tnum">{total} shown</span> : null}
        actions={
          <>
            <ExportButton filter={filter} />
            <IconButton icon={RefreshCw} label="Look again" keys="r" onClick={state.reload} />
          </>
        }
      >
        <Cards statuses={filter.statuses} onChoose={(statuses) => change({ statuses })} />
        <FilterBar filter={filter} rows={feed.rows} onChange={change} />
        <BulkBar
          selection={selection}
          hasMore={Boolean(feed.next)}
          cannotAll={bulkOf(filter, filter.statuses) ? null : "Not with the filter Muted: load them, or remove it"}
          bulk={bulk}
          disabled={disabled}
          onStep={act}
        />
      </PageHeader>
      {feed.stale ? (
        <div className="flex items-center border-b border-line bg-warning-soft">
          <PartialNotice warnings={["The connection was lost for a while: changes may be missing"]} />
          <Button size="sm" kind="ghost" onClick={state.reload}>
            Look again
          </Button>
        </div>
      ) : null}
      <div
        ref={list}
        onScrollCapture={onScroll}
        aria-busy={state.isOld || state.phase === "loading"}
        className={cx(
          "relative flex min-h-0 flex-1 flex-col border-t border-line bg-surface",
          state.isOld && "opacity-60",
        )}
      >
        {waiting > 0 ? (
          <button
            type="button"
            onClick={backToTop}
            className="absolute top-10 left-1/2 z-20 flex -translate-x-1/2 items-center gap-1.5 rounded-full bg-accent px-3 py-1 text-sm font-medium text-accent-fg shadow-pop"
          >
            <ArrowUp size={14} aria-hidden />
            {formatNumber(waiting)} new
          </button>
        ) : null}
        {state.phase === "failed" ? (
          <Failed error={state.error} onRetry={state.reload} />
        ) : feed.next === undefined ? (
          <Skeleton rows={14} />
        ) : feed.rows.length === 0 ? (
          <Nothing filter={filter} onClear={() => set(searchOf(filterOf({})))} />
        ) : (
          <Table
            label="Alerts"
            columns={columns}
            rows={feed.rows as AlertRow[]}
            keyOf={idOf}
            rowHeight={width < WIDTHS.sm ? 68 : 36}
            active={active}
            onActive={(row) => setActive(row.id)}
            onOpen={open}
            onEnd={state.loadMore}
            rowClass={(row) =>
              selection.has(row.id) ? "bg-accent-soft" : row.status === "RESOLVED" ? "text-muted" : undefined
            }
            footer={<Foot more={state.more} onRetry={state.loadMore} />}
          />
        )}
      </div>
      <Announcer />
      {suppress ? (
        <SuppressDialog
          count={suppress === "all" ? Number.NaN : suppress.length}
          subject={suppress === "all" ? "All that match the filter" : subjectOf(suppress)}
          onClose={() => setSuppress(null)}
          onSuppress={(words: StepWords) => {
            const rows = suppress;
            setSuppress(null);
            if (rows === "all") void all(filter, "suppress", words).then(selection.clear);
            else void step(rows, "suppress", words).then(selection.count > 0 ? selection.clear : undefined);
          }}
        />
      ) : null}
    </div>
  );
}

function subjectOf(rows: readonly AlertRow[]): string {
  const short = (text: string): string => (text.length > 60 ? `${text.slice(0, 59)}…` : text);
  const named = rows.slice(0, 3).map((row) => `${short(row.title)} (${row.service ?? row.entity.value})`);
  return rows.length > 3 ? `${named.join(", ")} and ${alerts(rows.length - 3)} more` : named.join(", ");
}

function grid(box: HTMLElement | null): HTMLElement | null {
  return box?.querySelector<HTMLElement>("[role=grid]") ?? null;
}

/** Gives a key to the table, which knows how to move: it works wherever on the page the reader is. */
function press(table: HTMLElement | null, key: string): void {
  if (!table) return;
  table.focus({ preventScroll: true });
  table.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
}

function Foot({ more, onRetry }: { more: "idle" | "loading" | "failed"; onRetry: () => void }) {
  if (more === "loading")
    return (
      <p className="flex items-center gap-2 px-3 py-2 text-xs text-muted">
        <Spinner /> More is on its way
      </p>
    );
  if (more === "failed")
    return (
      <p className="flex items-center gap-2 px-3 py-2 text-xs text-critical">
        The next page did not come.
        <Button size="sm" onClick={onRetry}>
          Try again
        </Button>
      </p>
    );
  return null;
}

function Nothing({ filter, onClear }: { filter: AlertFilter; onClear: () => void }) {
  const narrowed = chipsOf(filter).length > 0 || filter.statuses.length < LIVE_STATUSES.length;
  return narrowed ? (
    <Empty
      icon={BellRing}
      title="No alert passes the filters"
      action={<Button onClick={onClear}>Clear all filters</Button>}
    >
      Alerts that come and pass them appear here by themselves.
    </Empty>
  ) : (
    <Empty icon={BellRing} title="Nothing is wrong that Heimdall knows of">
      What the detectors and rules find, and what Prometheus posts to <code className="font-mono">/api/v2/alerts</code>,
      appears here by itself.
    </Empty>
  );
}

function ExportButton({ filter }: { filter: AlertFilter }) {
  const [count, setCount] = useState<number | null>(null);
  const abort = useRef<AbortController | null>(null);
  useEffect(() => () => abort.current?.abort(), []);
  const run = (): void => {
    if (count !== null) {
      abort.current?.abort();
      return;
    }
    const controller = new AbortController();
    abort.current = controller;
    setCount(0);
    exportCsv(filter, setCount, controller.signal)
      .then((file) => {
        const link = document.createElement("a");
        link.href = URL.createObjectURL(file);
        link.download = `alerts-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}.csv`;
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
      })
      .catch((error: unknown) => {
        if (controller.signal.aborted) toast.calm("The export was stopped");
        else toast.failed(error);
      })
      .finally(() => setCount(null));
  };
  return (
    <Button icon={Download} onClick={run} aria-label={count === null ? "Export as CSV" : "Stop the export"}>
      {count === null ? "CSV" : `${formatNumber(count)} rows, stop`}
    </Button>
  );
}
