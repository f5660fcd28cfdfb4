import { useNavigate } from "@tanstack/react-router";
import type { EChartsCoreOption } from "echarts/core";
import { useMemo, useState } from "react";
import { useTheme } from "@/app/theme";
import { Button } from "@/ui/Button";
import { Card } from "@/ui/Card";
import { lookOf } from "@/ui/Severity";
import { Chart } from "@/viz/Chart";
import { token } from "@/viz/palette";
import type { AlertRow } from "../alerts/model";
import { type Graph, graphOf, type Node } from "./graph";

const SYMBOLS: Record<Node["kind"], string> = { service: "roundRect", entity: "circle", alert: "triangle" };

/** What the alerts of an incident are about, and how it hangs together. */
export function EntityGraph({ alerts }: { alerts: readonly AlertRow[] }) {
  const navigate = useNavigate();
  const theme = useTheme((state) => state.theme);
  const [asTable, setAsTable] = useState(false);
  const graph = useMemo(() => graphOf(alerts), [alerts]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another theme means other colours
  const option = useMemo(() => optionOf(graph), [graph, theme]);
  const counted = (kind: Node["kind"]): number => graph.nodes.filter((node) => node.kind === kind).length;
  const label = `${counted("service")} services, ${counted("entity")} entities and ${counted("alert")} kinds of alert, joined by ${graph.edges.length} relations`;
  return (
    <Card
      title="How it hangs together"
      hint={graph.dropped > 0 ? `${graph.dropped} more are left out` : "▢ service ○ entity △ alert"}
      actions={
        <Button kind="ghost" size="sm" aria-pressed={asTable} onClick={() => setAsTable(!asTable)}>
          {asTable ? "As graph" : "As table"}
        </Button>
      }
    >
      {asTable ? (
        <div className="max-h-72 overflow-auto">
          <table className="w-full text-sm">
            <caption className="sr-only">{label}</caption>
            <thead>
              <tr className="text-left text-xs text-muted">
                <th className="py-1 font-medium">Name</th>
                <th className="font-medium">Kind</th>
                <th className="font-medium">Severity</th>
                <th className="text-right font-medium">Alerts</th>
              </tr>
            </thead>
            <tbody>
              {graph.nodes.map((node) => (
                <tr key={node.id} className="border-t border-line/60">
                  <td className="py-0.5 break-all">{node.name}</td>
                  <td>{node.of ?? node.kind}</td>
                  <td>{node.severity.toLowerCase()}</td>
                  <td className="tnum text-right">{node.count}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      ) : (
        <Chart
          label={label}
          option={option}
          height={280}
          onClick={(event) => {
            const node = (event.data as { node?: Node } | undefined)?.node;
            if (node?.kind === "service") void navigate({ to: "/services/$service", params: { service: node.name } });
            else if (node?.kind === "entity")
              void navigate({ to: "/alerts", search: { entity: `${node.of}:${node.name}`, status: "all" } as never });
            else if (node) void navigate({ to: "/alerts", search: { rule: node.of, status: "all" } as never });
          }}
        />
      )}
    </Card>
  );
}

function optionOf(graph: Graph): EChartsCoreOption {
  return {
    tooltip: {},
    series: [
      {
        type: "graph",
        layout: "force",
        roam: true,
        draggable: true,
        force: { repulsion: 170, edgeLength: [50, 110], gravity: 0.12 },
        scaleLimit: { min: 0.4, max: 4 },
        label: {
          show: graph.nodes.length <= 40,
          position: "bottom",
          color: token("--fg"),
          fontSize: 11,
          width: 130,
          overflow: "truncate",
        },
        lineStyle: { color: token("--line-strong"), opacity: 0.8, curveness: 0.06 },
        emphasis: { focus: "adjacency" },
        data: graph.nodes.map((node) => ({
          id: node.id,
          name: node.name,
          node,
          symbol: SYMBOLS[node.kind],
          symbolSize: 14 + Math.min(18, Math.sqrt(node.count) * 5),
          itemStyle: { color: token(lookOf(node.severity).token) },
          tooltip: {
            formatter: () =>
              `${escaped(node.name)}<br>${escaped(node.of ?? node.kind)}, ${node.severity.toLowerCase()}, ${node.count} alerts`,
          },
        })),
        edges: graph.edges.map((edge) => ({
          source: edge.source,
          target: edge.target,
          lineStyle: { width: 1 + Math.min(4, Math.log2(edge.count + 1)) },
        })),
      },
    ],
  };
}

/** Names come from logs, which strangers write; a tip is HTML. */
function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}
