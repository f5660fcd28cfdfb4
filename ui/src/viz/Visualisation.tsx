/** Any answer drawn in any way: Explore, dashboards and pages of services draw with this and nothing else.
 *
 * Which column is what, and what becomes of gaps and of many series, is decided in `shape.ts`.
 */
import type { EChartsCoreOption, EChartsType } from "echarts/core";
import { ChartLine, Table2 } from "lucide-react";
import { useMemo, useState } from "react";
import type { Answer } from "@/api/query";
import { useTheme } from "@/app/theme";
import { cx } from "@/lib/cx";
import type { Unit } from "@/lib/format";
import { useZone } from "@/lib/time";
import { IconButton } from "@/ui/Button";
import { Partial } from "@/ui/States";
import { AnswerTable } from "./AnswerTable";
import { Chart } from "./Chart";
import { formatValue } from "./cells";
import { Figures } from "./Figures";
import { Legend, type LegendEntry } from "./Legend";
import { Markdown } from "./Markdown";
import { Overlay } from "./Overlay";
import { heatOption, looksOf, pieOption, plotOption, type Span } from "./options";
import { figuresOf, heatOf, isAdditive, type Plot, plotOf, type Reduce, reduce, type Slices, slicesOf } from "./shape";
import { TopList } from "./TopList";

export type VizKind = "line" | "area" | "bar" | "table" | "top" | "heatmap" | "number" | "pie" | "text";

/** A step: values from here on have this tone, up to the next step. */
export interface Threshold {
  value: number;
  tone: "ok" | "warning" | "critical";
}

export interface VizSpec {
  viz: VizKind;
  unit?: Unit;
  thresholds?: Threshold[];
  stacked?: boolean;
  legend?: boolean;
  /** Columns by role; those left out are found by type: the first time is x, numbers are values, the rest tell series apart.
   * Of a table, `values` are the columns it shows. */
  x?: string;
  values?: string[];
  series?: string[];
  /** What a span without rows means; by itself, 0 for counts and rates, a gap for everything else. */
  missing?: "gap" | "zero";
  /** How a single number is made of values over time; by itself, the sum of counts and the last of everything else. */
  reduce?: Reduce;
  /** Text of a `text` panel, Markdown. */
  text?: string;
}

/** Something that happened, drawn over a time axis. */
export interface Mark {
  at: number;
  until?: number | null;
  text: string;
  tone?: "critical" | "warning" | "info";
  onOpen?: () => void;
}

export interface VisualisationProps {
  answer: Answer;
  spec: VizSpec;
  label: string;
  height?: number | string;
  /** Marks drawn over a time axis. */
  marks?: Mark[];
  /** The range that was asked about, ms: a time axis shows all of it. Without one, it shows what there is. */
  range?: Span;
  /** Width of a bucket of time, ms, where the asker knows it: tells gaps from buckets that hold nothing. */
  step?: number;
  onSelectRange?: (fromMs: number, toMs: number) => void;
  /** A value of a text column was clicked: filter by it. */
  onSelectValue?: (column: string, value: string) => void;
}

const CHARTS = new Set<VizKind>(["line", "area", "bar", "heatmap", "pie"]);

/** Draws an answer. */
export function Visualisation(props: VisualisationProps) {
  const { answer, spec, height = 240 } = props;
  const [asTable, setAsTable] = useState(false);
  const chart = CHARTS.has(spec.viz) && answer.rows.length > 0;
  return (
    <div className="group/viz @container relative flex min-h-0 min-w-0 flex-col" style={{ height }}>
      {spec.viz !== "text" && answer.stats.partial ? (
        <Partial warnings={answer.stats.warnings?.length ? answer.stats.warnings : ["this is not all of the answer"]} />
      ) : null}
      <div className="relative flex min-h-0 flex-1 flex-col">
        <Body {...props} spec={chart && asTable ? { ...spec, viz: "table" } : spec} />
        {chart ? (
          <IconButton
            icon={asTable ? ChartLine : Table2}
            label={asTable ? "Show as chart" : "Show as table"}
            size="sm"
            onClick={() => setAsTable(!asTable)}
            className="absolute top-0 right-0 z-10 bg-surface opacity-0 group-hover/viz:opacity-100 focus-visible:opacity-100"
          />
        ) : null}
      </div>
    </div>
  );
}

function Body({ answer, spec, label, marks, range, step, onSelectRange, onSelectValue }: VisualisationProps) {
  if (spec.viz === "text")
    return (
      // biome-ignore lint/a11y/noNoninteractiveTabindex: a text that scrolls must be reachable
      // biome-ignore lint/a11y/useSemanticElements: nothing here is filled in
      <div role="group" tabIndex={0} aria-label={label} className="min-h-0 flex-1 overflow-auto px-1">
        <Markdown text={spec.text ?? ""} />
      </div>
    );
  if (answer.rows.length === 0) return <Nothing>Nothing in this range</Nothing>;
  switch (spec.viz) {
    case "table":
      return <AnswerTable answer={answer} spec={spec} label={label} onSelectValue={onSelectValue} />;
    case "top":
      return <Top answer={answer} spec={spec} label={label} onSelectValue={onSelectValue} />;
    case "number":
      return <Numbers answer={answer} spec={spec} range={range} step={step} />;
    case "pie":
      return <Pie answer={answer} spec={spec} label={label} onSelectValue={onSelectValue} />;
    case "heatmap":
      return (
        <Heatmap
          answer={answer}
          spec={spec}
          label={label}
          step={step}
          onSelectRange={onSelectRange}
          onSelectValue={onSelectValue}
        />
      );
    default:
      return (
        <Lines
          answer={answer}
          spec={spec}
          label={label}
          marks={marks}
          range={range}
          step={step}
          onSelectRange={onSelectRange}
          onSelectValue={onSelectValue}
        />
      );
  }
}

function Nothing({ children }: { children: React.ReactNode }) {
  return (
    <p role="status" className="m-auto max-w-md px-4 py-3 text-center text-sm text-muted">
      {children}
    </p>
  );
}

function Top({ answer, spec, label, onSelectValue }: VisualisationProps) {
  const shape = useMemo(() => slicesOf(answer, spec, 100), [answer, spec]);
  if ("unfit" in shape) return <Nothing>{shape.unfit}</Nothing>;
  return <TopList shape={shape} spec={spec} label={label} onSelectValue={onSelectValue} />;
}

function Numbers({ answer, spec, range, step }: Pick<VisualisationProps, "answer" | "spec" | "range" | "step">) {
  const shape = useMemo(() => figuresOf(answer, spec, { range, step }), [answer, spec, range, step]);
  if ("unfit" in shape) return <Nothing>{shape.unfit}</Nothing>;
  if (shape.length === 0) return <Nothing>No value in this range</Nothing>;
  return <Figures figures={shape} spec={spec} />;
}

/** A chart with its legend beside it where there is room, else below. */
function Framed({ chart, legend }: { chart: React.ReactNode; legend: React.ReactNode }) {
  return (
    <div className="flex min-h-0 flex-1 flex-col @2xl:flex-row">
      <div className="relative flex min-h-0 min-w-0 flex-1 flex-col">{chart}</div>
      {legend}
    </div>
  );
}

function Lines({ answer, spec, label, marks, range, step, onSelectRange, onSelectValue }: VisualisationProps) {
  const zone = useZone((state) => state.zone);
  const theme = useTheme((state) => state.theme);
  const [hidden, setHidden] = useState<Set<string>>(() => new Set());
  const [chart, setChart] = useState<EChartsType | null>(null);
  const shape = useMemo(() => plotOf(answer, spec, { range, step }), [answer, spec, range, step]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another theme means other colours
  const option = useMemo<EChartsCoreOption | null>(
    () => ("unfit" in shape ? null : plotOption(shape, spec, { zone, range, hidden })),
    [shape, spec, zone, range, hidden, theme],
  );
  // biome-ignore lint/correctness/useExhaustiveDependencies: another theme means other colours
  const entries = useMemo(() => ("unfit" in shape ? [] : plotEntries(shape, spec)), [shape, spec, theme]);
  if ("unfit" in shape || !option) return <Nothing>{"unfit" in shape ? shape.unfit : null}</Nothing>;
  const time = shape.axis === "time";
  const wanted = spec.legend ?? (shape.series.length > 1 || shape.dropped > 0);
  return (
    <Framed
      chart={
        <>
          <Chart
            label={`${label}: ${describe(shape)}`}
            option={option}
            height="auto"
            className="min-h-0 flex-1"
            onReady={setChart}
            onSelectRange={time ? onSelectRange : undefined}
            onClick={(event) => {
              const one = shape.series.find((series) => series.name === event.seriesName);
              const by = shape.axis === "category" && shape.xColumn ? [shape.xColumn.name, event.name] : one?.by[0];
              if (by?.[0] && by[1] !== undefined) onSelectValue?.(by[0], by[1]);
            }}
          />
          {time && chart ? <Overlay chart={chart} marks={marks ?? []} zone={zone} /> : null}
        </>
      }
      legend={
        wanted ? (
          <Legend
            entries={entries}
            hidden={hidden}
            onHidden={setHidden}
            note={shape.dropped > 0 ? `and ${shape.dropped} smaller ones, not drawn` : undefined}
          />
        ) : null
      }
    />
  );
}

function plotEntries(plot: Plot, spec: VizSpec): LegendEntry[] {
  const looks = looksOf(plot.series);
  return plot.series.map((one) => {
    const way = isAdditive(one.column) && !/^rate/.test(one.column.name) ? "sum" : "last";
    const value = reduce(
      one.points.map(([, y]) => y),
      way,
    );
    return {
      name: one.name,
      colour: looks.get(one.name)?.colour ?? "",
      dash: looks.get(one.name)?.dash,
      value: value === null ? undefined : formatValue(value, spec.unit),
    };
  });
}

function describe(plot: Plot): string {
  const names = plot.series.slice(0, 8).map((one) => one.name);
  const more = plot.series.length > names.length ? ` and ${plot.series.length - names.length} more` : "";
  return `${names.join(", ")}${more} by ${plot.xColumn?.name ?? "row"}`;
}

function Pie({ answer, spec, label, onSelectValue }: VisualisationProps) {
  const theme = useTheme((state) => state.theme);
  const [hidden, setHidden] = useState<Set<string>>(() => new Set());
  const shape = useMemo(() => slicesOf(answer, spec), [answer, spec]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another theme means other colours
  const option = useMemo(
    () => ("unfit" in shape ? null : pieOption(shape, spec, hidden)),
    [shape, spec, hidden, theme],
  );
  if ("unfit" in shape || !option) return <Nothing>{"unfit" in shape ? shape.unfit : null}</Nothing>;
  return (
    <Framed
      chart={
        <Chart
          label={`${label}: ${describeSlices(shape, spec)}`}
          option={option}
          height="auto"
          className="min-h-0 flex-1"
          onClick={(event) => {
            const by = shape.slices.find((slice) => slice.name === event.name)?.by;
            if (by) onSelectValue?.(by[0], by[1]);
          }}
        />
      }
      legend={
        spec.legend === false ? null : (
          <Legend entries={sliceEntries(shape, spec)} hidden={hidden} onHidden={setHidden} />
        )
      }
    />
  );
}

function describeSlices(shape: Slices, spec: VizSpec): string {
  return shape.slices
    .slice(0, 8)
    .map((slice) => `${slice.name} ${formatValue(slice.value, spec.unit)}`)
    .join(", ");
}

function sliceEntries(shape: Slices, spec: VizSpec): LegendEntry[] {
  const looks = looksOf(shape.slices);
  return shape.slices.map((slice) => ({
    name: slice.name,
    colour: looks.get(slice.name)?.colour ?? "",
    value: formatValue(slice.value, spec.unit),
  }));
}

function Heatmap({ answer, spec, label, step, onSelectRange, onSelectValue }: VisualisationProps) {
  const zone = useZone((state) => state.zone);
  const theme = useTheme((state) => state.theme);
  const shape = useMemo(() => heatOf(answer, spec, { step }), [answer, spec, step]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another theme means other colours
  const option = useMemo(() => ("unfit" in shape ? null : heatOption(shape, spec, zone)), [shape, spec, zone, theme]);
  if ("unfit" in shape || !option) return <Nothing>{"unfit" in shape ? shape.unfit : null}</Nothing>;
  const width = step ?? (shape.xs[1] ?? 0) - (shape.xs[0] ?? 0);
  const select = shape.xAxis === "time" && width > 0 ? onSelectRange : undefined;
  return (
    <Chart
      label={`${label}: ${shape.value.name} of ${shape.ys.length} rows, from ${formatValue(shape.low, spec.unit)} to ${formatValue(shape.high, spec.unit)}`}
      option={option}
      height="auto"
      className={cx("min-h-0 flex-1")}
      // The axis is of places: a span of it is a span of the times that stand there.
      onSelectRange={
        select
          ? (from, to) => {
              const first = shape.xs[Math.max(0, Math.round(Math.min(from, to)))];
              const last = shape.xs[Math.min(shape.xs.length - 1, Math.round(Math.max(from, to)))];
              if (first !== undefined && last !== undefined) select(first, last + width);
            }
          : undefined
      }
      onClick={(event) => {
        const cell = event.value as [number, number, number] | undefined;
        const name = cell ? shape.ys[cell[1]] : undefined;
        if (shape.yColumn && name !== undefined) onSelectValue?.(shape.yColumn.name, name);
      }}
    />
  );
}
