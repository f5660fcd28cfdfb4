/** Explore: ask the records anything, look at what is found, follow what is happening. */
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import type { Cell, Language } from "@/api/query";
import { TimePicker } from "@/app/TimePicker";
import { useShortcuts } from "@/lib/keys";
import { useWidth, WIDTHS } from "@/lib/width";
import { PageHeader } from "@/ui/Card";
import { Dialog } from "@/ui/Dialog";
import { Partial } from "@/ui/States";
import { ExploreActions } from "./actions/ExploreActions";
import { RecordPanel } from "./detail/RecordPanel";
import { remember } from "./editor/history";
import { condition, negated, withCondition, writeName } from "./line/filters";
import { columnsOf } from "./line/shape";
import { usePrefs } from "./prefs";
import { QueryBar } from "./QueryBar";
import { useAsked } from "./question";
import { CompiledStrip, CostStrip, ProgressBar } from "./RunStrip";
import type { ListHandle } from "./rows/LogList";
import { useVersion } from "./rows/useVersion";
import { type Question, useRun } from "./run/useRun";
import { FieldSidebar } from "./sidebar/FieldSidebar";
import { Toolbar } from "./Toolbar";
import { TailView } from "./tail/TailView";
import { ChartView } from "./views/ChartView";
import { HistogramStrip } from "./views/HistogramStrip";
import { PatternsView } from "./views/PatternsView";
import { RecordsView, spanOf } from "./views/RecordsView";
import { setSeen } from "./views/seen";

/** From this width of the window on, fields and a record fit beside the list. */
const BOTH_PX = 1680;
const ENTER = "Enter";
const ESCAPE = "Escape";

export function ExplorePage() {
  const { asked, change, range, setRange } = useAsked();
  const prefs = usePrefs();
  const width = useWidth();
  const isNarrow = width < WIDTHS.md;
  const [nonce, setNonce] = useState(0);
  const [isTailing, setTailing] = useState(false);
  const [drawer, setDrawer] = useState(false);
  const [active, setActive] = useState<number | null>(null);
  const [isOpen, setOpen] = useState(false);
  const list = useRef<ListHandle>(null);

  const question = useMemo<Question>(
    () => ({
      query: asked.query,
      language: asked.language,
      range,
      order: asked.order,
      askAboveMs: prefs.askAboveMs,
      nonce,
    }),
    [asked.query, asked.language, range, asked.order, prefs.askAboveMs, nonce],
  );
  const { run, cancel, runAnyway } = useRun(question);
  const { rows } = run;
  const version = useVersion(rows, 500);

  // Another answer: nothing of the one before is in hand any more.
  const [answered, setAnswered] = useState(rows);
  if (answered !== rows) {
    setAnswered(rows);
    setActive(null);
    setOpen(false);
  }

  const line = run.line;
  const isTable = run.shape === "table" && run.phase !== "failed";
  const view = isTable ? "chart" : asked.view;
  const columns = useMemo(() => columnsOf(line) ?? asked.columns, [line, asked.columns]);
  const { from, to } = run;
  const span = useMemo(() => spanOf({ from, to }), [from, to]);
  const isRunning = run.phase === "running" || run.phase === "costing";

  const ask = useCallback(
    (query: string, language: Language = asked.language) => {
      remember({ language, query });
      setTailing(false);
      if (query.trim() === asked.query && language === asked.language) setNonce((count) => count + 1);
      else change({ query: query.trim(), language });
    },
    [asked.query, asked.language, change],
  );
  /** A condition on what is found: a question in words becomes the line it was understood as. */
  const narrow = useCallback(
    (text: string, late = false) => {
      const base = asked.language === "search" ? asked.query : asked.language === "ask" ? line : "";
      const query = withCondition(base, text, late);
      remember({ language: "search", query });
      change({ query, language: "search", view: view === "chart" ? "records" : view });
    },
    [asked.language, asked.query, line, change, view],
  );
  const onFilter = useCallback(
    (field: string, value: Cell, exclude: boolean) => {
      const text = condition(field, value);
      narrow(exclude ? negated(text) : text);
    },
    [narrow],
  );
  const onColumns = useCallback((next: string[]) => change({ columns: next }, { replace: true }), [change]);
  const onColumn = useCallback(
    (name: string) => {
      const has = columns.includes(name);
      const message = columns.indexOf("message");
      if (has) onColumns(columns.length > 1 ? columns.filter((one) => one !== name) : columns.slice());
      else if (message >= 0) onColumns([...columns.slice(0, message), name, ...columns.slice(message)]);
      else onColumns([...columns, name]);
    },
    [columns, onColumns],
  );
  useEffect(() => {
    if (rows === null || view !== "records") setSeen(null);
  }, [rows, view]);

  const toggleFields = (): void => {
    if (isNarrow) setDrawer(!drawer);
    else prefs.set({ sidebar: !prefs.sidebar });
  };
  const go = (by: number): void => {
    if (!rows || rows.total === 0) return;
    const next = Math.max(0, Math.min(rows.total - 1, (active ?? -1) + by));
    setActive(next);
    list.current?.scrollTo(next);
    // Enter is then about the record, not about what was pressed before.
    if (!isOpen) list.current?.focus();
  };
  useShortcuts(
    {
      j: () => go(1),
      k: () => go(-1),
      [ENTER]: (event) => {
        // Enter on a button is that button's.
        if ((event.target as HTMLElement).closest("button, a, [role=tab]")) (event.target as HTMLElement).click();
        else if (active !== null) setOpen(true);
      },
      [ESCAPE]: () => setOpen(false),
    },
    // Live tail has a list of its own.
    !isTailing,
  );
  useShortcuts({
    f: toggleFields,
    t: () => setTailing(!isTailing),
    v: () => change({ wrap: !asked.wrap }, { replace: true }),
    r: () => setNonce((count) => count + 1),
  });

  const sidebar = (
    <FieldSidebar
      line={line}
      range={range}
      span={span}
      rows={rows}
      version={version}
      columns={columns}
      onColumn={onColumn}
      onFilter={onFilter}
      onExists={(name, exclude) => narrow(`${exclude ? "-" : ""}exists:${writeName(name)}`)}
    />
  );
  const record = active !== null && rows ? rows.at(active) : undefined;
  const detail =
    isOpen && record ? (
      <RecordPanel
        row={record}
        line={line}
        span={span}
        columns={columns}
        onColumn={onColumn}
        onFilter={onFilter}
        onAsk={(query) => ask(query, "search")}
        onClose={() => setOpen(false)}
        onStep={go}
        canStep={{ back: (active ?? 0) > 0, on: (active ?? 0) < (rows?.total ?? 0) - 1 }}
      />
    ) : null;
  const warnings = run.phase === "done" ? (run.stats?.warnings ?? []) : [];

  return (
    <div className="flex min-h-0 flex-1 flex-col">
      <PageHeader
        title="Explore"
        actions={
          <>
            <ExploreActions asked={asked} range={range} run={run} span={span} onOpen={change} onRange={setRange} />
            <TimePicker onRefresh={() => setNonce((count) => count + 1)} />
          </>
        }
      >
        <QueryBar
          language={asked.language}
          query={asked.query}
          range={range}
          error={run.phase === "failed" ? run.error : null}
          isRunning={isRunning}
          onAsk={ask}
          onLanguage={(language, draft) => change({ language, query: translated(draft, asked.language, language) })}
          onCancel={cancel}
        />
        <CompiledStrip run={run} onEdit={() => ask(line, "search")} />
      </PageHeader>
      <ProgressBar run={run} />
      <CostStrip run={run} onRun={runAnyway} onNarrow={(from, to) => setRange({ from, to })} />
      {isTailing ? (
        <TailView
          line={line}
          columns={columns}
          onColumns={onColumns}
          isWrapped={asked.wrap}
          onFilter={onFilter}
          onClose={() => setTailing(false)}
          onAsk={(query) => ask(query, "search")}
        />
      ) : (
        <>
          {prefs.histogram && run.shape === "stream" && run.phase !== "failed" && run.phase !== "held" ? (
            <HistogramStrip
              histogram={run.histogram}
              isBusy={isRunning}
              onRange={setRange}
              onLevel={(level, exclude) =>
                level === "none"
                  ? narrow(exclude ? "exists:level" : "-exists:level")
                  : onFilter("level", level, exclude)
              }
              onHide={() => prefs.set({ histogram: false })}
            />
          ) : null}
          <Toolbar
            run={run}
            view={view}
            asked={asked}
            isTable={isTable}
            fieldsShown={isNarrow ? drawer : prefs.sidebar}
            onFields={toggleFields}
            onView={(next) => change({ view: next })}
            onChange={change}
            onTail={() => setTailing(true)}
          />
          <Partial warnings={warnings} />
          <div className="flex min-h-0 flex-1">
            {prefs.sidebar && !isNarrow && asked.language !== "sql" && !(detail && width < BOTH_PX) ? (
              <aside aria-label="Fields" className="flex w-60 shrink-0 flex-col border-r border-line">
                {sidebar}
              </aside>
            ) : null}
            <div className="flex min-h-0 min-w-0 flex-1 flex-col">
              {view === "records" ? (
                <RecordsView
                  ref={list}
                  run={run}
                  columns={columns}
                  onColumns={onColumns}
                  isWrapped={asked.wrap}
                  active={active}
                  onActive={setActive}
                  onOpen={() => setOpen(true)}
                  onSeen={onSeen}
                  onLine={ask}
                  onRange={setRange}
                  onRetry={() => setNonce((count) => count + 1)}
                />
              ) : view === "patterns" ? (
                <PatternsView run={run} span={span} onAsk={(query) => ask(query, "search")} />
              ) : (
                <ChartView
                  run={run}
                  span={span}
                  viz={asked.viz}
                  onViz={(viz) => change({ viz }, { replace: true })}
                  onRange={setRange}
                  onFilter={onFilter}
                  onAsk={(query) => ask(query, "search")}
                  onRetry={() => setNonce((count) => count + 1)}
                />
              )}
            </div>
            {detail && !isNarrow ? (
              <aside
                aria-label="Record"
                className="flex w-[min(34rem,42vw)] shrink-0 flex-col border-l border-line bg-surface"
              >
                {detail}
              </aside>
            ) : null}
          </div>
        </>
      )}
      {isNarrow ? (
        <>
          <Dialog open={drawer} onOpenChange={setDrawer} title="Fields" side>
            <div className="-m-4 flex h-full flex-col">{sidebar}</div>
          </Dialog>
          <Dialog open={Boolean(detail)} onOpenChange={(open) => !open && setOpen(false)} title="Record" side wide>
            <div className="-m-4 flex h-full flex-col">{detail}</div>
          </Dialog>
        </>
      ) : null}
    </div>
  );
}

function onSeen(from: number, to: number): void {
  setSeen({ from, to });
}

/** What becomes of a half-written question in another language: nothing is lost that could be meant there too. */
function translated(draft: string, from: Language, to: Language): string {
  if (to === "sql" && from !== "sql")
    return "select timestamp, service, level, message\nfrom logs\norder by timestamp desc\nlimit 100";
  return from === "sql" ? "" : draft;
}
