/** A question being answered: its cost asked first where the range is wide, the rows as they are found, the histogram, and
 * the figures of the answer. One run at a time; another question, or `cancel`, ends it. */
import { useCallback, useEffect, useRef, useState } from "react";
import { ApiError, asApiError } from "@/api/problem";
import {
  type Answer,
  ask,
  type Column,
  type Compiled,
  explain,
  type Language,
  type Progress,
  type Stats,
  stream,
} from "@/api/query";
import { resolveRange, type TimeRange, toRfc3339 } from "@/lib/time";
import { aboutRecords, orderOf, recordsLine, type Shape, shapeOf } from "../line/shape";
import { type Bin, binsOf, type Order, spanFor } from "../rows/bins";
import { type LogRow, rowsOf } from "../rows/record";
import { PAGE_ROWS, RowWindow, type Source } from "../rows/window";
import { type Cost, costOf, type Plan, WIDE_RANGE_MS } from "./cost";

/** Rows of an answer that is no stream of records. */
export const ANSWER_ROWS = 10_000;
const BUCKETS = 90;
const FINE_BUCKETS = 64;

export interface Histogram {
  answer: Answer;
  span: string;
  ms: number;
  from: number;
  to: number;
  total: number;
}

export interface Run {
  phase: "idle" | "costing" | "held" | "running" | "done" | "failed" | "cancelled";
  shape: Shape;
  language: Language;
  /** The search line that is answered: what was written, or what a question was understood as; SQL as it is. */
  line: string;
  compiled: Compiled | null;
  /** The range, as it was when the run began. */
  from: number;
  to: number;
  cost: Cost | null;
  progress: Progress | null;
  error: ApiError | null;
  stats: Stats | null;
  rows: RowWindow | null;
  histogram: Histogram | null;
  /** Answer of a table. */
  answer: Answer | null;
  startedAt: number;
  tookMs: number | null;
}

const IDLE: Run = {
  phase: "idle",
  shape: "stream",
  language: "search",
  line: "",
  compiled: null,
  from: 0,
  to: 0,
  cost: null,
  progress: null,
  error: null,
  stats: null,
  rows: null,
  histogram: null,
  answer: null,
  startedAt: 0,
  tookMs: null,
};

export interface Question {
  query: string;
  language: Language;
  range: TimeRange;
  order: Order;
  /** Longest estimate that is run without asking; null: any. */
  askAboveMs: number | null;
  /** Another number asks the same question again. */
  nonce: number;
}

export function useRun(question: Question): { run: Run; cancel: () => void; runAnyway: () => void } {
  const [run, setRun] = useState<Run>(IDLE);
  const abort = useRef<AbortController | null>(null);
  const goOn = useRef<(() => void) | null>(null);
  const key = JSON.stringify(question);
  useEffect(() => {
    const asked = JSON.parse(key) as Question;
    const controller = new AbortController();
    abort.current = controller;
    let rows: RowWindow | null = null;
    const set = (changes: Partial<Run> | ((before: Run) => Partial<Run>)): void => {
      if (controller.signal.aborted) return;
      setRun((before) => ({ ...before, ...(typeof changes === "function" ? changes(before) : changes) }));
    };
    const held = (): Promise<void> =>
      new Promise((resolve) => {
        goOn.current = resolve;
      });
    perform(asked, controller.signal, set, held, (made) => {
      rows = made;
    }).catch((error: unknown) => {
      if (!controller.signal.aborted) set({ phase: "failed", error: asApiError(error), progress: null });
    });
    return () => {
      controller.abort();
      rows?.close();
    };
  }, [key]);
  const cancel = useCallback(() => {
    abort.current?.abort();
    setRun((before) =>
      before.phase === "running" || before.phase === "costing"
        ? { ...before, phase: "cancelled", progress: null, tookMs: performance.now() - before.startedAt }
        : before,
    );
  }, []);
  const runAnyway = useCallback(() => goOn.current?.(), []);
  return { run, cancel, runAnyway };
}

type Set = (changes: Partial<Run> | ((before: Run) => Partial<Run>)) => void;

async function perform(
  asked: Question,
  signal: AbortSignal,
  set: Set,
  held: () => Promise<void>,
  made: (rows: RowWindow) => void,
): Promise<void> {
  let { from, to } = resolveRange(asked.range);
  const startedAt = performance.now();
  const shape: Shape = asked.language === "sql" ? "table" : shapeOf(asked.query);
  // What was found before stays in sight until something new is.
  set({ phase: "running", error: null, cost: null, progress: null, stats: null, tookMs: null, startedAt });
  let line = asked.query;
  let compiled: Compiled | null = null;
  let kind = shape;
  if (asked.language === "ask") {
    if (!asked.query.trim()) {
      set({ ...IDLE, language: "ask" });
      return;
    }
    compiled = await understood(asked, signal);
    line = compiled.query;
    kind = shapeOf(line);
    ({ from, to } = resolveRange({ from: compiled.from ?? asked.range.from, to: compiled.to ?? asked.range.to }));
  }
  const range = { from: toRfc3339(from), to: toRfc3339(to) };
  const language: Language = asked.language === "sql" ? "sql" : "search";
  const order = orderOf(line) ?? asked.order;
  const { span, ms } = spanFor(from, to, BUCKETS);
  const chart = aboutRecords(line, `timechart ${span} count() by level`);
  set({ line, compiled, language: asked.language, from, to });

  if (language === "search" && asked.askAboveMs !== null && to - from > WIDE_RANGE_MS) {
    set({ phase: "costing" });
    const cost = await costFirst(kind === "stream" ? chart : line, range, signal);
    if (cost && cost.ms > asked.askAboveMs) {
      set({ phase: "held", cost, rows: null, answer: null, histogram: null, shape: kind });
      await held();
    }
    set({ phase: "running", cost, startedAt: performance.now() });
  }
  const begun = performance.now();
  const done = (stats: Stats): void =>
    set((before) => ({
      phase: "done",
      progress: null,
      tookMs: performance.now() - begun,
      stats: { ...before.stats, ...stats },
    }));

  if (kind === "table" || language === "sql") {
    let columns: Column[] = [];
    const found: Answer["rows"] = [];
    const stats = await stream(
      { query: line, language, ...range, limit: ANSWER_ROWS },
      {
        onColumns: (names) => {
          columns = names;
        },
        onRows: (more) => {
          for (const row of more) found.push(row);
        },
        onProgress: (progress) => set({ progress }),
      },
      signal,
    );
    set({ shape: "table", answer: { columns, rows: found, stats }, rows: null, histogram: null });
    done(stats);
    return;
  }

  const records = recordsLine(line, order);
  const source = sourceOf(kind === "list" ? line : records, line, range);
  const rows = new RowWindow(source, { from, to }, order);
  made(rows);
  let isShown = false;
  const show = (): void => {
    if (!isShown) set({ shape: kind, rows, answer: null, ...(kind === "list" ? { histogram: null } : {}) });
    isShown = true;
  };
  const head = readHead(kind === "list" ? line : records, kind, range, rows, show, set, signal);
  if (kind === "list") {
    done(await head);
    return;
  }
  const counted = count(chart, range, set, signal).then((answer) => {
    const bins = binsOf(answer, ms, from, to);
    const total = bins.reduce((sum, bin) => sum + bin.count, 0);
    set({ histogram: { answer, span, ms, from, to, total } });
    return { bins, answer };
  });
  // The first rows are shown as soon as they are there; the list grows to its whole length when it is counted.
  const [first, whole] = await Promise.allSettled([head, counted]);
  if (first.status === "rejected") throw first.reason;
  if (whole.status === "rejected") {
    if (signal.aborted) return;
    set({ histogram: null });
    done({ ...first.value, warnings: [...(first.value.warnings ?? []), "the records could not be counted"] });
    return;
  }
  rows.countedBy(whole.value.bins);
  done({
    ...first.value,
    rows_matched: whole.value.answer.stats.rows_matched,
    partial: whole.value.answer.stats.partial,
    warnings: whole.value.answer.stats.warnings,
  });
}

/** The first rows, shown as they come. */
async function readHead(
  line: string,
  kind: Shape,
  range: { from: string; to: string },
  rows: RowWindow,
  show: () => void,
  set: Set,
  signal: AbortSignal,
): Promise<Stats> {
  let columns: Column[] = [];
  const limit = kind === "list" ? ANSWER_ROWS : PAGE_ROWS;
  let found = 0;
  let waiting: LogRow[] = [];
  let frame = 0;
  const flush = (): void => {
    cancelAnimationFrame(frame);
    frame = 0;
    if (waiting.length > 0 && !signal.aborted) {
      rows.append(waiting);
      waiting = [];
      show();
    }
  };
  const question = { query: line, ...range, limit };
  const stats = await stream(
    question,
    {
      onColumns: (names) => {
        columns = names;
      },
      onRows: (more) => {
        found += more.length;
        waiting.push(...rowsOf(columns, more));
        frame ||= requestAnimationFrame(flush);
      },
      onProgress: (progress) => set((before) => (kind === "list" || !before.progress ? { progress } : {})),
    },
    signal,
  ).catch(async (error: unknown): Promise<Stats> => {
    // While it streams, the server holds more than it answers with; asked at once, the same rows may fit.
    if (!(error instanceof ApiError) || error.code !== "answer_too_large") throw error;
    const answer = await ask(question, signal);
    waiting.push(...rowsOf(answer.columns, answer.rows.slice(found)));
    found = answer.rows.length;
    return answer.stats;
  });
  flush();
  rows.append([], { next: kind === "list" || found < limit ? null : (stats.next ?? undefined) });
  show();
  set({ stats });
  return stats;
}

/** Counts by time and level, with progress. */
async function count(
  query: string,
  range: { from: string; to: string },
  set: Set,
  signal: AbortSignal,
): Promise<Answer> {
  const answer: Answer = { columns: [], rows: [], stats: {} };
  answer.stats = await stream(
    { query, ...range, limit: ANSWER_ROWS },
    {
      onColumns: (columns) => {
        answer.columns = columns;
      },
      onRows: (rows) => {
        answer.rows.push(...rows);
      },
      onProgress: (progress) => set({ progress }),
    },
    signal,
  );
  return answer;
}

function sourceOf(records: string, line: string, whole: { from: string; to: string }): Source {
  return {
    page: async ({ from, to, limit, cursor }, signal) => {
      const range = cursor ? { ...whole, cursor } : { from: toRfc3339(from), to: toRfc3339(to) };
      const answer = await ask({ query: records, ...range, limit }, signal);
      return { rows: rowsOf(answer.columns, answer.rows), next: answer.stats.next };
    },
    bins: async (from, to, signal): Promise<Bin[]> => {
      const { span, ms } = spanFor(from, to, FINE_BUCKETS);
      const query = aboutRecords(line, `stats count() by bin(${span})`);
      const answer = await ask({ query, from: toRfc3339(from), to: toRfc3339(to), limit: ANSWER_ROWS }, signal);
      return binsOf(answer, ms, from, to);
    },
  };
}

/** The search line a question means. */
async function understood(asked: Question, signal: AbortSignal): Promise<Compiled> {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const plan = await explain<Plan>({ query: asked.query, language: "ask", ...asked.range, zone }, signal);
  if (plan.compiled) return plan.compiled;
  const answer = await ask({ query: asked.query, language: "ask", ...asked.range, zone, limit: 1 }, signal);
  if (answer.compiled) return answer.compiled;
  throw asApiError(new Error("the server did not say how it understood the question"));
}

/** What the question would cost; null where that cannot be had: then it is simply asked. A list of records ends when it is
 * full, so that of the two it is the count that tells. */
async function costFirst(
  query: string,
  range: { from: string; to: string },
  signal: AbortSignal,
): Promise<Cost | null> {
  try {
    return costOf(await explain<Plan>({ query, ...range }, signal));
  } catch (error) {
    if (signal.aborted) throw error;
    return null;
  }
}
