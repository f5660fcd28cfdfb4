/** What the chart library is told to draw, made of the shapes of `shape.ts`. Reads colour tokens, touches nothing. */
import type { EChartsCoreOption } from "echarts/core";
import type { Unit } from "@/lib/format";
import { formatTime } from "@/lib/time";
import { axisBase, tooltipBase } from "./Chart";
import { formatValue } from "./cells";
import { namedColour, seriesColours, shades, token } from "./palette";
import { bandsOf, type Heat, isAlone, type Plot, type Series, type Slices } from "./shape";
import type { Threshold, VizSpec } from "./Visualisation";

export interface Span {
  from: number;
  to: number;
}

const TONES: Record<Threshold["tone"], string> = { ok: "--ok", warning: "--warning", critical: "--critical" };

/** Colour and dashes of each series, by name: names keep their look however the answer is ordered. */
export function looksOf(
  series: Pick<Series, "name" | "others">[],
): Map<string, { colour: string; dash: "solid" | "dashed" | "dotted" }> {
  const colours = seriesColours();
  const dashes = ["solid", "dashed", "dotted"] as const;
  const plain = series.filter((one) => !one.others && !namedColour(one.name)).map((one) => one.name);
  const order = new Map([...plain].sort((a, b) => a.localeCompare(b)).map((name, index) => [name, index]));
  return new Map(
    series.map((one) => {
      const index = order.get(one.name) ?? 0;
      const colour = one.others
        ? token("--faint")
        : (namedColour(one.name) ?? colours[index % colours.length] ?? token("--accent"));
      return [one.name, { colour, dash: dashes[Math.floor(index / colours.length) % 3] ?? "solid" }];
    }),
  );
}

/** A time on an axis: as short as the span allows. */
export function axisTime(at: number, zone: string, span: number): string {
  if (span < 5000) return formatTime(at, zone, "clock-ms");
  if (span < 600_000) return formatTime(at, zone, "clock");
  const text = formatTime(at, zone, "minute");
  if (span <= 90_000_000) return text.slice(11);
  return text.endsWith("00:00") || span > 40 * 86_400_000 ? text.slice(5, 10) : text.slice(5);
}

function extentOf(plot: Plot, range?: Span): Span {
  let from = range?.from ?? Number.POSITIVE_INFINITY;
  let to = range?.to ?? Number.NEGATIVE_INFINITY;
  if (!range)
    for (const one of plot.series)
      for (const [x] of one.points) {
        from = Math.min(from, x);
        to = Math.max(to, x);
      }
  return { from, to };
}

/** A series over an axis as lines, areas or bars. */
export function plotOption(
  plot: Plot,
  spec: VizSpec,
  context: { zone: string; range?: Span; hidden: Set<string> },
): EChartsCoreOption {
  const { zone, range, hidden } = context;
  const looks = looksOf(plot.series);
  const shown = plot.series.filter((one) => !hidden.has(one.name));
  const extent = extentOf(plot, range);
  const span = extent.to - extent.from;
  const bars = spec.viz === "bar";
  const stacked = spec.stacked ?? (bars && plot.axis === "time");
  const sideways = bars && plot.axis === "category" && plot.categories.some((name) => name.length > 14);
  const unit = spec.unit;
  const count = plot.series[0]?.points.length ?? 0;
  const xAxis =
    plot.axis === "category"
      ? { ...axisBase(), type: "category", data: plot.categories, splitLine: { show: false }, inverse: sideways }
      : {
          ...axisBase(),
          type: plot.axis === "time" ? "time" : "value",
          splitLine: { show: false },
          ...(plot.axis === "time"
            ? {
                useUTC: zone === "UTC",
                ...(range
                  ? { min: range.from, max: range.to }
                  : bars && plot.step
                    ? { min: extent.from - plot.step / 2, max: extent.to + plot.step / 2 }
                    : {}),
                axisLabel: {
                  color: token("--muted"),
                  fontSize: 11,
                  hideOverlap: true,
                  formatter: (at: number) => axisTime(at, zone, span),
                },
                splitNumber: 6,
              }
            : { scale: true }),
        };
  const thresholds = spec.thresholds ?? [];
  const high = Math.max(...thresholds.map((step) => step.value), 0);
  const yAxis = {
    ...axisBase(),
    type: "value",
    // Lines show how values change; areas and bars show how large they are, and begin at 0.
    scale: spec.viz === "line" && !stacked,
    splitNumber: 4,
    axisLabel: { color: token("--muted"), fontSize: 11, formatter: (value: number) => formatAxis(value, unit) },
    // A threshold just above the values is shown; one far away would flatten them.
    ...(high > 0
      ? { max: (seen: { max: number }) => (seen.max < high && high < seen.max * 1.6 ? high * 1.05 : null) }
      : {}),
  };
  const series = shown.map((one, index) => {
    const look = looks.get(one.name);
    const alone = one.points.some((_, at) => isAlone(one.points, at));
    const data = sideways ? one.points.map(([x, y]) => [y, x]) : one.points;
    const common = {
      name: one.name,
      data,
      itemStyle: { color: look?.colour },
      ...(stacked ? { stack: "all" } : {}),
      emphasis: { focus: "series" },
      ...(index === 0 ? marksOf(thresholds, sideways) : {}),
    };
    if (bars)
      return { ...common, type: "bar", barMaxWidth: 36, barMinWidth: 1, barCategoryGap: count > 40 ? "8%" : "25%" };
    return {
      ...common,
      type: "line",
      connectNulls: false,
      lineStyle: stacked ? { width: 1, color: look?.colour } : { width: 1.6, color: look?.colour, type: look?.dash },
      showSymbol: alone || count === 1,
      symbol: "circle",
      symbolSize: (_: unknown, point: { dataIndex: number }) =>
        isAlone(one.points, point.dataIndex) || count === 1 ? 5 : 0,
      ...(one.points.length > 2000 ? { sampling: "lttb" } : {}),
      ...(spec.viz === "area" || stacked ? { areaStyle: { opacity: stacked ? 0.55 : 0.18 } } : {}),
    };
  });
  return {
    animation: false,
    xAxis: sideways ? yAxis : xAxis,
    yAxis: sideways ? xAxis : yAxis,
    series,
    tooltip: {
      ...tooltipBase(),
      trigger: "axis",
      axisPointer: { type: bars && plot.axis === "category" ? "shadow" : "line" },
      formatter: (points: TipPoint[]) => tipOf(points, plot, sideways, zone, unit),
    },
  };
}

function formatAxis(value: number, unit: Unit | undefined): string {
  if (unit && unit !== "none") return formatValue(value, unit);
  const size = Math.abs(value);
  if (size >= 1e9) return `${Number((value / 1e9).toPrecision(3))}G`;
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`;
  return String(Number(value.toPrecision(6)));
}

/** Thresholds: a line where each begins, a band where it is not well. */
function marksOf(thresholds: Threshold[], sideways: boolean): Record<string, unknown> {
  if (thresholds.length === 0) return {};
  const at = sideways ? "xAxis" : "yAxis";
  return {
    markLine: {
      silent: true,
      symbol: "none",
      label: { show: false },
      data: thresholds
        .filter((step) => step.value !== 0 && step.tone !== "ok")
        .map((step) => ({ [at]: step.value, lineStyle: { color: token(TONES[step.tone]), type: "dashed", width: 1 } })),
    },
    markArea: {
      silent: true,
      data: bandsOf(thresholds).map((band) => [
        { [at]: band.from, itemStyle: { color: token(TONES[band.tone]), opacity: 0.07 } },
        { [at]: band.to ?? Number.POSITIVE_INFINITY },
      ]),
    },
  };
}

interface TipPoint {
  seriesName: string;
  color: string;
  value: [number, number | null];
  axisValue: number | string;
}

/** Rows of a tip, at most; the rest is counted. */
const TIP_ROWS_MAX = 14;

/** The tip is made of nodes: names come from records and are never read as HTML. */
function tipOf(points: TipPoint[], plot: Plot, sideways: boolean, zone: string, unit: Unit | undefined): HTMLElement {
  const first = points[0];
  const at = first?.axisValue;
  const head =
    plot.axis === "time"
      ? formatTime(Number(at), zone, (plot.step ?? 0) >= 1000 || plot.step === null ? "second" : "ms")
      : plot.axis === "category"
        ? String(typeof at === "number" ? (plot.categories[at] ?? at) : at)
        : String(at);
  const rows = points
    .map((point) => ({ name: point.seriesName, colour: point.color, value: point.value[sideways ? 0 : 1] }))
    .filter((row) => row.value !== null && row.value !== undefined)
    .sort((a, b) => Number(b.value) - Number(a.value));
  return tip(
    head,
    rows.slice(0, TIP_ROWS_MAX).map((row) => ({ ...row, text: formatValue(Number(row.value), unit) })),
    rows.length > TIP_ROWS_MAX ? `and ${rows.length - TIP_ROWS_MAX} more` : rows.length === 0 ? "no data" : null,
  );
}

function tip(head: string, rows: { name: string; colour?: string; text: string }[], foot: string | null): HTMLElement {
  const make = (parent: HTMLElement, text: string, style: string): HTMLElement => {
    const made = document.createElement("div");
    made.textContent = text;
    made.style.cssText = style;
    parent.append(made);
    return made;
  };
  const box = document.createElement("div");
  if (head) make(box, head, "font-size:11px;opacity:.75;margin-bottom:2px");
  for (const row of rows) {
    const line = make(box, "", "display:flex;align-items:center;gap:6px;line-height:17px");
    if (row.colour) make(line, "", "width:8px;height:8px;border-radius:2px;flex:none").style.background = row.colour;
    make(line, row.name, "max-width:260px;overflow:hidden;text-overflow:ellipsis;white-space:nowrap");
    make(line, row.text, "margin-left:auto;padding-left:14px;font-weight:600;font-variant-numeric:tabular-nums");
  }
  if (foot) make(box, foot, "font-size:11px;opacity:.75");
  return box;
}

/** Shares of a whole, as a ring. */
export function pieOption(shape: Slices, spec: VizSpec, hidden: Set<string>): EChartsCoreOption {
  const looks = looksOf(shape.slices);
  const shown = shape.slices.filter((slice) => !hidden.has(slice.name) && slice.value > 0);
  const total = shown.reduce((sum, slice) => sum + slice.value, 0);
  return {
    animation: false,
    tooltip: {
      ...tooltipBase(),
      trigger: "item",
      formatter: (point: { name: string; value: number; color: string; percent: number }) =>
        tip(
          "",
          [
            {
              name: point.name,
              colour: point.color,
              text: `${formatValue(point.value, spec.unit)} (${point.percent} %)`,
            },
          ],
          null,
        ),
    },
    series: [
      {
        type: "pie",
        radius: ["58%", "88%"],
        data: shown.map((slice) => ({
          name: slice.name,
          value: slice.value,
          itemStyle: { color: looks.get(slice.name)?.colour, borderColor: token("--surface"), borderWidth: 2 },
        })),
        label: {
          show: true,
          position: "center",
          formatter: () => formatValue(total, spec.unit),
          color: token("--fg"),
          fontSize: 16,
          fontWeight: 600,
        },
        labelLine: { show: false },
        emphasis: { scaleSize: 4 },
      },
    ],
  };
}

/** Values over two axes, as shades. */
export function heatOption(heat: Heat, spec: VizSpec, zone: string): EChartsCoreOption {
  const span = (heat.xs.at(-1) ?? 0) - (heat.xs[0] ?? 0);
  const nameOf = (place: number): string => {
    const x = heat.xs[place];
    if (x === undefined) return "";
    return heat.xAxis === "category"
      ? (heat.xNames[place] ?? "")
      : heat.xAxis === "time"
        ? axisTime(x, zone, span)
        : String(x);
  };
  return {
    animation: false,
    grid: { left: 8, right: 12, top: 8, bottom: 4, containLabel: true },
    xAxis: {
      ...axisBase(),
      type: "category",
      data: heat.xs.map((_, place) => nameOf(place)),
      splitLine: { show: false },
    },
    yAxis: {
      ...axisBase(),
      type: "category",
      data: heat.ys,
      splitLine: { show: false },
      axisLabel: { color: token("--muted"), fontSize: 11, width: 150, overflow: "truncate" },
    },
    visualMap: {
      show: false,
      min: Math.min(0, heat.low),
      max: heat.high === heat.low ? heat.high + 1 : heat.high,
      inRange: { color: shades() },
    },
    tooltip: {
      ...tooltipBase(),
      trigger: "item",
      formatter: (point: { value: [number, number, number]; color: string }) => {
        const x = heat.xs[point.value[0]];
        const head = heat.xAxis === "time" && x !== undefined ? formatTime(x, zone, "second") : nameOf(point.value[0]);
        return tip(
          head,
          [{ name: heat.ys[point.value[1]] ?? "", colour: point.color, text: formatValue(point.value[2], spec.unit) }],
          null,
        );
      },
    },
    series: [
      {
        type: "heatmap",
        data: heat.cells,
        itemStyle: { borderColor: token("--surface"), borderWidth: heat.xs.length > 80 ? 0.5 : 1, borderRadius: 1 },
        emphasis: { itemStyle: { borderColor: token("--fg"), borderWidth: 1 } },
        progressive: 2000,
      },
    ],
  };
}
