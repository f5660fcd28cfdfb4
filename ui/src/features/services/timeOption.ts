/** Small charts over time: lines with what happened marked on them. */
import type { EChartsCoreOption } from "echarts/core";
import { formatUnit, type Unit } from "@/lib/format";
import { formatTime } from "@/lib/time";
import { axisBase, tooltipBase } from "@/viz/Chart";
import { seriesColours, token } from "@/viz/palette";
import type { Point } from "./series";
import { tipOf } from "./tip";

export interface Line {
  name: string;
  points: Point[];
  /** Token of its colour, such as `--critical`; else the next of the palette. */
  tone?: string;
  area?: boolean;
}

export interface Mark {
  at: number;
  until?: number | null;
  kind: "deployment" | "incident" | "investigation";
  text: string;
}

const MARK_TONES: Record<Mark["kind"], string> = {
  deployment: "--accent",
  incident: "--critical",
  investigation: "--info",
};

/** Marks drawn at most: more would hide the line. */
const MARKS_MAX = 24;

/** Marks of one kind that would stand side by side become one; `gap` in milliseconds. They come oldest first. */
export function together(marks: readonly Mark[], gap: number): Mark[] {
  const found: (Mark & { count: number; first: string })[] = [];
  for (const mark of marks) {
    const near = found.findLast((other) => other.kind === mark.kind && mark.at - other.at < gap);
    if (near) {
      near.count += 1;
      near.text = `${near.first} and ${near.count - 1} more`;
    } else found.push({ ...mark, count: 1, first: mark.text });
  }
  return found.map(({ at, until, kind, text }) => ({ at, until, kind, text }));
}

/** A time as an axis says it: the clock, and the day where the range is longer than one. */
export function axisTime(at: number, zone: string, spanMs: number): string {
  const text = formatTime(at, zone, "minute");
  return spanMs > 36 * 3_600_000 ? `${text.slice(5, 10)} ${text.slice(11)}` : text.slice(11);
}

export function timeOption(spec: {
  lines: Line[];
  marks?: Mark[];
  unit: Unit;
  zone: string;
  from: number;
  to: number;
  max?: number;
}): EChartsCoreOption {
  const { lines, marks = [], unit, zone, from, to, max } = spec;
  const axis = axisBase() as { axisLabel: Record<string, unknown> };
  const colours = seriesColours();
  const colourOf = (line: Line, index: number): string =>
    line.tone ? token(line.tone) : (colours[index % colours.length] ?? token("--accent"));
  const shown = together(
    marks.filter((mark) => mark.at <= to && (mark.until ?? mark.at) >= from),
    (to - from) / 40,
  ).slice(-MARKS_MAX);
  return {
    // The brush brings buttons of its own; dragging needs none.
    toolbox: { show: false },
    grid: { left: 4, right: 10, top: 8, bottom: 2, containLabel: true },
    tooltip: {
      ...tooltipBase(),
      trigger: "axis",
      formatter: (found: unknown) => {
        const items = found as { axisValue: number; seriesIndex: number; value: Point }[];
        const time = items[0]?.axisValue ?? from;
        const near = shown.filter((mark) => Math.abs(mark.at - time) <= (to - from) / 40);
        return tipOf(
          formatTime(time, zone),
          items.flatMap(({ seriesIndex, value }) => {
            const line = lines[seriesIndex];
            if (!line) return [];
            const number = value[1];
            return [
              {
                colour: colourOf(line, seriesIndex),
                name: line.name,
                value: number === null ? "–" : formatUnit(number, unit),
              },
            ];
          }),
          near.map((mark) => `${mark.kind}: ${mark.text}`).join(" · ") || undefined,
        );
      },
    },
    xAxis: {
      ...axis,
      type: "time",
      min: from,
      max: to,
      splitNumber: 4,
      splitLine: { show: false },
      axisLabel: { ...axis.axisLabel, formatter: (value: number) => axisTime(value, zone, to - from) },
    },
    yAxis: {
      ...axis,
      type: "value",
      min: 0,
      max,
      splitNumber: 3,
      interval: max === undefined ? undefined : max / 4,
      axisLine: { show: false },
      axisLabel: { ...axis.axisLabel, formatter: (value: number) => formatUnit(value, unit) },
    },
    series: lines.map((line, index) => ({
      id: line.name,
      name: line.name,
      type: "line",
      data: line.points,
      showSymbol: line.points.filter(([, value]) => value !== null).length < 2,
      symbolSize: 5,
      lineStyle: { width: 1.5, color: colourOf(line, index) },
      itemStyle: { color: colourOf(line, index) },
      areaStyle: line.area ? { color: colourOf(line, index), opacity: 0.14 } : undefined,
      emphasis: { disabled: true },
      ...(index === 0 ? marksOf(shown) : {}),
    })),
  };
}

function marksOf(marks: Mark[]): Record<string, unknown> {
  const spans = marks.filter((mark) => mark.until);
  return {
    markLine: {
      silent: true,
      symbol: "none",
      animation: false,
      label: { show: false },
      data: marks.map((mark) => ({
        xAxis: mark.at,
        lineStyle: {
          color: token(MARK_TONES[mark.kind]),
          width: 1,
          opacity: 0.8,
          type: mark.kind === "deployment" ? "solid" : "dashed",
        },
      })),
    },
    markArea: {
      silent: true,
      animation: false,
      data: spans.map((mark) => [
        { xAxis: mark.at, itemStyle: { color: token(MARK_TONES[mark.kind]), opacity: 0.1 } },
        { xAxis: mark.until },
      ]),
    },
  };
}

/** What a chart's marks say, in words. */
export function describeMarks(marks: Mark[], zone: string): string {
  return marks.map((mark) => `${mark.kind} at ${formatTime(mark.at, zone, "minute")}: ${mark.text}`).join("; ");
}
