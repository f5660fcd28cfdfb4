/** Clusters drawn: in three dimensions, or flat. */
import type { EChartsCoreOption } from "echarts/core";
import { formatMs, formatNumber, formatShare } from "@/lib/format";
import { formatTime } from "@/lib/time";
import { axisBase, tooltipBase } from "@/viz/Chart";
import { seriesColours, token } from "@/viz/palette";
import { NOISE } from "./dbscan";
import type { ScatterPoint } from "./scatter";
import { axisTime } from "./timeOption";
import { tipOf } from "./tip";

export interface Drawn {
  points: ScatterPoint[];
  labels: number[];
  zone: string;
}

/** Clusters beyond the palette take its colours again; the number tells them apart. */
export function clusterColour(label: number): string {
  const colours = seriesColours();
  return label === NOISE ? token("--faint") : (colours[label % colours.length] ?? token("--accent"));
}

const SYMBOLS = ["circle", "rect", "diamond", "triangle"];

export function clusterSymbol(label: number): string {
  return label === NOISE ? "roundRect" : (SYMBOLS[label % SYMBOLS.length] ?? "circle");
}

/** Series by cluster; each datum is time, latency, error rate and its place in `points`. */
function seriesOf({ points, labels }: Drawn): { label: number; data: [number, number, number, number][] }[] {
  const found = new Map<number, [number, number, number, number][]>();
  points.forEach((point, index) => {
    const label = labels[index] ?? NOISE;
    const data = found.get(label) ?? [];
    data.push([point.at, point.latency, point.errorRate, index]);
    found.set(label, data);
  });
  return [...found].sort((a, b) => a[0] - b[0]).map(([label, data]) => ({ label, data }));
}

/** Points of each series in the order they are drawn: what a click hit. */
export function drawnOrder(drawn: Drawn): number[][] {
  return seriesOf(drawn).map(({ data }) => data.map((datum) => datum[3]));
}

function tooltip({ points, labels, zone }: Drawn): Record<string, unknown> {
  return {
    ...tooltipBase(),
    formatter: (item: unknown) => {
      const index = (item as { value: number[] }).value[3] ?? -1;
      const point = points[index];
      if (!point) return "";
      const label = labels[index] ?? NOISE;
      return tipOf(
        point.service,
        [
          { name: "Cluster", value: label === NOISE ? "noise" : String(label + 1), colour: clusterColour(label) },
          { name: "Time", value: formatTime(point.at, zone, "minute") },
          { name: "p95", value: formatMs(point.latency) },
          { name: "Errors", value: formatShare(point.errorRate) },
          { name: "Records", value: formatNumber(point.records) },
        ],
        "Click: its page",
      );
    },
  };
}

export function flatOption(drawn: Drawn): EChartsCoreOption {
  const axis = axisBase() as { axisLabel: Record<string, unknown> };
  const name = { nameTextStyle: { color: token("--muted"), fontSize: 11 }, nameLocation: "middle" };
  return {
    tooltip: tooltip(drawn),
    grid: { left: 30, right: 20, top: 14, bottom: 28, containLabel: true },
    xAxis: {
      ...axis,
      ...name,
      type: "log",
      name: "p95 latency",
      nameGap: 26,
      axisLabel: { ...axis.axisLabel, formatter: (value: number) => formatMs(value) },
    },
    yAxis: {
      ...axis,
      ...name,
      type: "value",
      name: "Error rate",
      nameGap: 44,
      min: 0,
      axisLabel: { ...axis.axisLabel, formatter: (value: number) => formatShare(value) },
    },
    series: seriesOf(drawn).map(({ label, data }) => ({
      type: "scatter",
      name: String(label),
      symbol: clusterSymbol(label),
      symbolSize: label === NOISE ? 6 : 9,
      itemStyle: { color: clusterColour(label), opacity: 0.8 },
      encode: { x: 1, y: 2 },
      data,
    })),
  };
}

export function solidOption(drawn: Drawn, reducedMotion: boolean, narrow: boolean): EChartsCoreOption {
  const times = drawn.points.map((point) => point.at);
  const span = Math.max(...times) - Math.min(...times);
  // The library draws texts half a line above the place it reads them from: a box of air around each keeps them whole.
  const air = { backgroundColor: "rgba(0,0,0,0)", padding: [8, 2] };
  const axis = {
    nameTextStyle: { color: token("--muted"), fontSize: 12, ...air },
    axisLabel: { color: token("--muted"), fontSize: 11, ...air },
    axisLine: { lineStyle: { color: token("--line-strong") } },
    splitLine: { lineStyle: { color: token("--line") } },
    axisPointer: { lineStyle: { color: token("--line-strong") } },
  };
  const label = (formatter: (value: number) => string) => ({ show: true, ...axis.axisLabel, formatter });
  return {
    backgroundColor: "transparent",
    tooltip: tooltip(drawn),
    grid3D: {
      boxWidth: 130,
      boxDepth: 90,
      boxHeight: 75,
      viewControl: {
        distance: narrow ? 420 : 225,
        alpha: 18,
        beta: 35,
        minDistance: 80,
        maxDistance: 700,
        autoRotate: false,
        damping: reducedMotion ? 0 : 0.8,
      },
      light: { main: { intensity: 1.1 }, ambient: { intensity: 0.5 } },
      postEffect: { enable: false },
      temporalSuperSampling: { enable: false },
      environment: "none",
    },
    xAxis3D: {
      ...axis,
      type: "value",
      name: "Time",
      min: Math.min(...times),
      max: Math.max(...times) + (span === 0 ? 1 : 0),
      axisLabel: label((value) => axisTime(value, drawn.zone, span)),
    },
    yAxis3D: { ...axis, type: "log", name: "p95 latency", axisLabel: label((value) => formatMs(value)) },
    zAxis3D: { ...axis, type: "value", name: "Error rate", min: 0, axisLabel: label((value) => formatShare(value)) },
    series: seriesOf(drawn).map(({ label: cluster, data }) => ({
      id: `cluster ${cluster}`,
      type: "scatter3D",
      name: String(cluster),
      symbol: clusterSymbol(cluster),
      symbolSize: cluster === NOISE ? 6 : 9,
      itemStyle: { color: clusterColour(cluster), opacity: cluster === NOISE ? 0.6 : 0.9 },
      emphasis: { itemStyle: { color: token("--fg") } },
      data,
    })),
  };
}
