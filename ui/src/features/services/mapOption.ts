/** The map of services as a graph: nodes by state and traffic, edges by requests and by how errors go together. */
import type { EChartsCoreOption } from "echarts/core";
import { formatMs, formatNumber, formatShare } from "@/lib/format";
import { lookOf } from "@/ui/Severity";
import { tooltipBase } from "@/viz/Chart";
import { token } from "@/viz/palette";
import type { MapEdge, MapNode, ServiceMap } from "./api";
import type { Place } from "./layout";
import { tipOf } from "./tip";

/** From here on errors of two services rise and fall together. */
export const TOGETHER = 0.5;

const SHAPES: Record<string, string> = { CRITICAL: "diamond", WARNING: "triangle", NORMAL: "circle" };

/** Token of an edge's colour, and what it means. */
export function correlationLook(correlation: number | null): { token: string; words: string } {
  if (correlation === null) return { token: "--line-strong", words: "errors too few to compare" };
  if (correlation >= TOGETHER) return { token: "--critical", words: "errors rise together" };
  if (correlation >= 0.25) return { token: "--warning", words: "errors rise together at times" };
  return { token: "--info", words: "errors are independent" };
}

export function mapOption(map: ServiceMap, places: ReadonlyMap<string, Place>, narrow: boolean): EChartsCoreOption {
  const records = Math.max(1, ...map.nodes.map((node) => node.records));
  const requests = Math.max(1, ...map.edges.map((edge) => edge.requests));
  const both = new Set(map.edges.map((edge) => JSON.stringify([edge.source, edge.target])));
  const scale = narrow ? 0.7 : 1;
  return {
    tooltip: {
      ...tooltipBase(),
      formatter: (item: unknown) => {
        const { dataType, data } = item as { dataType: "node" | "edge"; data: { of: MapNode & MapEdge } };
        return dataType === "edge" ? edgeTip(data.of) : nodeTip(data.of);
      },
    },
    series: [
      {
        id: "map",
        type: "graph",
        layout: "none",
        animation: false,
        preserveAspect: "contain",
        roam: true,
        draggable: true,
        left: narrow ? 60 : 70,
        right: narrow ? 60 : 70,
        top: 30,
        bottom: 40,
        scaleLimit: { min: 0.5, max: 4 },
        emphasis: { focus: "adjacency", label: { show: true }, lineStyle: { opacity: 1 } },
        blur: { itemStyle: { opacity: 0.2 }, lineStyle: { opacity: 0.08 }, label: { opacity: 0.2 } },
        labelLayout: { hideOverlap: true },
        data: map.nodes.map((node) => {
          const place = places.get(node.service) ?? { x: 0, y: 0 };
          const colour = token(lookOf(node.state).token);
          return {
            id: node.service,
            name: node.service,
            // A phone stands upright: so does the map.
            x: (narrow ? place.y : place.x) * 1000,
            y: (narrow ? place.x : place.y) * 1000,
            of: node,
            symbol: SHAPES[node.state] ?? "roundRect",
            symbolSize: (12 + 26 * Math.sqrt(node.records / records)) * scale * (node.state === "NORMAL" ? 1 : 1.15),
            itemStyle: { color: colour, borderColor: token("--surface"), borderWidth: 2 },
            label: {
              show: true,
              position: "bottom",
              distance: 4,
              color: token("--fg"),
              fontSize: narrow ? 9 : 11,
              fontWeight: node.state === "NORMAL" ? 400 : 600,
              textBorderColor: token("--surface"),
              textBorderWidth: 3,
            },
          };
        }),
        edges: map.edges.map((edge) => {
          const look = correlationLook(edge.error_correlation);
          const strong = edge.error_correlation !== null && edge.error_correlation >= TOGETHER;
          return {
            source: edge.source,
            target: edge.target,
            of: edge,
            symbol: ["none", "arrow"],
            symbolSize: [0, 7],
            lineStyle: {
              color: token(look.token),
              width: 1 + 5 * Math.sqrt(edge.requests / requests),
              opacity: edge.error_correlation === null ? 0.7 : 0.75,
              // Calls both ways are two lines.
              curveness: both.has(JSON.stringify([edge.target, edge.source])) ? 0.18 : 0.06,
            },
            label: {
              show: strong && !narrow,
              formatter: edge.error_correlation === null ? "" : edge.error_correlation.toFixed(2),
              color: token("--fg"),
              fontSize: 10,
              textBorderColor: token("--surface"),
              textBorderWidth: 3,
            },
          };
        }),
      },
    ],
  };
}

function nodeTip(node: MapNode): HTMLElement {
  return tipOf(
    node.service,
    [
      { name: "State", value: node.state.toLowerCase(), colour: token(lookOf(node.state).token) },
      { name: "Records", value: formatNumber(node.records) },
      { name: "Errors", value: node.error_rate === null ? "–" : formatShare(node.error_rate) },
      { name: "p95", value: node.p95_ms === null ? "–" : formatMs(node.p95_ms) },
      { name: "Open alerts", value: formatNumber(node.open_alerts) },
    ],
    "Click: its page",
  );
}

function edgeTip(edge: MapEdge): HTMLElement {
  const look = correlationLook(edge.error_correlation);
  return tipOf(
    `${edge.source} → ${edge.target}`,
    [
      { name: "Requests", value: formatNumber(edge.requests) },
      {
        name: "Errors",
        value: `${formatNumber(edge.errors)} (${formatShare(edge.errors / Math.max(1, edge.requests))})`,
      },
      { name: "p95", value: edge.p95_ms === null ? "–" : formatMs(edge.p95_ms) },
      {
        name: "Error correlation",
        value: edge.error_correlation === null ? "–" : edge.error_correlation.toFixed(2),
        colour: token(look.token),
      },
    ],
    look.words,
  );
}
