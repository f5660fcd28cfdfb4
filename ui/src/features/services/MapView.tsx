/** Who calls whom, how much, and whose errors go together. */
import { useNavigate } from "@tanstack/react-router";
import { Circle, Diamond, Triangle, Waypoints } from "lucide-react";
import { useMemo } from "react";
import { useTheme } from "@/app/theme";
import { useRange } from "@/app/url";
import { formatNumber } from "@/lib/format";
import { useWidth, WIDTHS } from "@/lib/width";
import { Empty, Partial, Remote } from "@/ui/States";
import { Chart } from "@/viz/Chart";
import { type ServiceMap, useServiceMap } from "./api";
import { EdgeTable } from "./EdgeTable";
import { type Place, placesOf } from "./layout";
import { mapOption } from "./mapOption";
import { TableToggle } from "./TableToggle";

export function MapView({ table, onTable }: { table: boolean; onTable: (table: boolean) => void }) {
  const { range } = useRange();
  const map = useServiceMap(range);
  return (
    <Remote
      of={map}
      empty={{
        when: (data) => data.nodes.length === 0,
        show: (
          <Empty icon={Waypoints} title="No service wrote anything in this range">
            Choose a longer range.
          </Empty>
        ),
      }}
    >
      {(data) => (
        <div className="flex min-h-0 flex-1 flex-col">
          <Partial warnings={data.warnings} />
          <div className="flex flex-wrap items-center gap-x-4 gap-y-1 px-4 pt-2 text-xs text-muted">
            <span>
              {formatNumber(data.nodes.length)} services, {formatNumber(data.edges.length)} dependencies from{" "}
              {formatNumber(data.traces_read)} traces
              {data.sampled ? " (a sample, the newest)" : ""}
            </span>
            <TableToggle table={table} onTable={onTable} picture="Map" className="ml-auto" />
          </div>
          {table ? (
            <EdgeTable edges={data.edges} label="Dependencies" className="mt-2 border-t border-line" />
          ) : (
            <Graph map={data} />
          )}
        </div>
      )}
    </Remote>
  );
}

/** Places of the services drawn last: the map is the same when one comes back to it. */
let known: Map<string, Place> = new Map();

function Graph({ map }: { map: ServiceMap }) {
  const navigate = useNavigate();
  const theme = useTheme((state) => state.theme);
  const narrow = useWidth() < WIDTHS.sm;
  const places = useMemo(() => {
    known = placesOf(
      map.nodes.map((node) => node.service),
      map.edges,
      known,
    );
    return known;
  }, [map]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another theme means other colours
  const option = useMemo(() => mapOption(map, places, narrow), [map, places, narrow, theme]);
  return (
    <>
      {map.edges.length === 0 ? (
        <p className="px-4 pt-2 text-sm text-muted">
          No dependency is known: records that carry trace_id, span_id and parent_span_id tell who calls whom.
        </p>
      ) : null}
      <Chart
        className="min-h-96 flex-1"
        height="auto"
        merge
        label={`Map of ${map.nodes.length} services and ${map.edges.length} dependencies. The same is there as a table.`}
        option={option}
        onClick={(event) => {
          if (event.dataType === "node") void navigate({ to: "/services/$service", params: { service: event.name } });
        }}
      />
      <ul
        aria-label="Legend"
        className="flex flex-wrap gap-x-4 gap-y-1 border-t border-line px-4 py-2 text-xs text-muted"
      >
        <Key icon={<Diamond size={11} aria-hidden className="fill-critical text-critical" />}>critical</Key>
        <Key icon={<Triangle size={11} aria-hidden className="fill-warning text-warning" />}>warning</Key>
        <Key icon={<Circle size={11} aria-hidden className="fill-ok text-ok" />}>as usual; size: records</Key>
        <Key icon={<span aria-hidden className="h-0.5 w-4 bg-critical" />}>
          errors rise together (0.5 and more, written)
        </Key>
        <Key icon={<span aria-hidden className="h-0.5 w-4 bg-warning" />}>at times</Key>
        <Key icon={<span aria-hidden className="h-0.5 w-4 bg-info" />}>independent</Key>
        <Key icon={<span aria-hidden className="h-1 w-4 bg-line-strong" />}>too few errors; width: requests</Key>
      </ul>
    </>
  );
}

function Key({ icon, children }: { icon: React.ReactNode; children: React.ReactNode }) {
  return (
    <li className="flex items-center gap-1.5">
      {icon}
      {children}
    </li>
  );
}
