/** How many requests go from which service to which. */
import { useNavigate } from "@tanstack/react-router";
import type { EChartsCoreOption } from "echarts/core";
import { Waypoints } from "lucide-react";
import { useMemo } from "react";
import { useTheme } from "@/app/theme";
import { useRange } from "@/app/url";
import { formatNumber, formatShort } from "@/lib/format";
import { useWidth, WIDTHS } from "@/lib/width";
import { lookOf } from "@/ui/Severity";
import { Empty, Partial, Remote } from "@/ui/States";
import { Chart, tooltipBase } from "@/viz/Chart";
import { token } from "@/viz/palette";
import { type ServiceMap, useServiceMap } from "./api";
import { EdgeTable } from "./EdgeTable";
import { breakCycles, type Flows } from "./sankey";
import { TableToggle } from "./TableToggle";
import { tipOf } from "./tip";

export function FlowView({ table, onTable }: { table: boolean; onTable: (table: boolean) => void }) {
  const { range } = useRange();
  const map = useServiceMap(range);
  return (
    <Remote
      of={map}
      empty={{
        when: (data) => data.edges.length === 0,
        show: (
          <Empty icon={Waypoints} title="No request between services in this range">
            Records that carry trace_id, span_id and parent_span_id tell who calls whom.
          </Empty>
        ),
      }}
    >
      {(data) => (
        <div className="flex min-h-0 flex-1 flex-col">
          <Partial warnings={data.warnings} />
          <div className="flex flex-wrap items-center gap-x-4 gap-y-1 px-4 pt-2 text-xs text-muted">
            <span>
              {formatNumber(data.edges.reduce((sum, edge) => sum + edge.requests, 0))} requests between services
              {data.sampled ? ", of a sample of the newest traces" : ""}
            </span>
            <TableToggle table={table} onTable={onTable} picture="Flow" className="ml-auto" />
          </div>
          {table ? (
            <EdgeTable edges={data.edges} label="Requests between services" className="mt-2 border-t border-line" />
          ) : (
            <Flow map={data} />
          )}
        </div>
      )}
    </Remote>
  );
}

function Flow({ map }: { map: ServiceMap }) {
  const navigate = useNavigate();
  const theme = useTheme((state) => state.theme);
  const narrow = useWidth() < WIDTHS.sm;
  const flows = useMemo(() => breakCycles(map.edges), [map]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another theme means other colours
  const option = useMemo(() => sankeyOption(flows, map, narrow), [flows, map, narrow, theme]);
  return (
    <>
      <div className="flex min-h-0 flex-1 overflow-x-auto">
        <Chart
          className="min-h-96 min-w-160 flex-1"
          height="auto"
          label={`Requests from service to service: ${flows.links.length} flows. The same is there as a table.`}
          option={option}
          onClick={(event) => {
            if (event.dataType === "node") void navigate({ to: "/services/$service", params: { service: event.name } });
          }}
        />
      </div>
      {flows.left_out.length > 0 ? (
        <p className="border-t border-line px-4 py-2 text-xs text-muted">
          Not drawn, because they go back in a circle:{" "}
          {flows.left_out
            .slice(0, 6)
            .map((edge) => `${edge.source} → ${edge.target} (${formatShort(edge.requests)})`)
            .join(", ")}
          {flows.left_out.length > 6 ? ` and ${flows.left_out.length - 6} more` : ""}. The table has them.
        </p>
      ) : null}
    </>
  );
}

function sankeyOption(flows: Flows, map: ServiceMap, narrow: boolean): EChartsCoreOption {
  const states = new Map(map.nodes.map((node) => [node.service, node.state]));
  const all = flows.links.reduce((sum, edge) => sum + edge.requests, 0);
  return {
    tooltip: {
      ...tooltipBase(),
      formatter: (item: unknown) => {
        const { dataType, name, data, value } = item as {
          dataType: string;
          name: string;
          value: number;
          data: { source: string; target: string };
        };
        return dataType === "edge"
          ? tipOf(`${data.source} → ${data.target}`, [
              { name: "Requests", value: formatNumber(value) },
              { name: "Share", value: `${((value / Math.max(1, all)) * 100).toFixed(1)} %` },
            ])
          : tipOf(name, [{ name: "Requests", value: formatNumber(value) }], "Click: its page");
      },
    },
    series: [
      {
        type: "sankey",
        left: 12,
        right: narrow ? 90 : 150,
        top: 14,
        bottom: 14,
        nodeWidth: 12,
        nodeGap: 12,
        draggable: false,
        emphasis: { focus: "adjacency" },
        data: flows.nodes.map((name) => ({
          name,
          itemStyle: { color: token(lookOf(states.get(name)).token), borderWidth: 0 },
        })),
        links: flows.links.map(({ source, target, requests }) => ({ source, target, value: requests })),
        lineStyle: { color: token("--accent"), opacity: 0.28, curveness: 0.5 },
        label: { color: token("--fg"), fontSize: 11, textBorderColor: token("--surface"), textBorderWidth: 2 },
      },
    ],
  };
}
