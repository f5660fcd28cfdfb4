/** Time, latency and error rate of every service, in clusters: what behaves alike, and what does not. */
import { useNavigate } from "@tanstack/react-router";
import { Sparkles } from "lucide-react";
import { useDeferredValue, useId, useMemo } from "react";
import { useAnswer } from "@/api/query";
import { useTheme } from "@/app/theme";
import { useRange, useUrl } from "@/app/url";
import { formatMs, formatNumber, formatShare } from "@/lib/format";
import { formatTime, useZone } from "@/lib/time";
import { useWidth, WIDTHS } from "@/lib/width";
import { Segmented, Switch } from "@/ui/Field";
import { Empty, Remote } from "@/ui/States";
import { Table } from "@/ui/Table";
import { Chart } from "@/viz/Chart";
import { refreshOf, useSparks } from "./api";
import { NOISE } from "./dbscan";
import { Chart3D } from "./gl/Chart3D";
import { webglWorks } from "./gl/webgl";
import { ServiceLink } from "./ServiceLink";
import { type Cluster, clusterOf, describeClusters, POINTS_MAX, pointsOf, type ScatterPoint } from "./scatter";
import { clusterColour, drawnOrder, flatOption, solidOption } from "./scatterOption";

/** Buckets of the range: points of each service. */
const BUCKETS = 24;

export function ScatterView() {
  const { range } = useRange();
  const { records, errors, bucket } = useSparks(range, BUCKETS);
  const latency = useAnswer(
    {
      query: `duration_ms:* | stats p95(duration_ms) as p95 by service, bin(${bucket.span})`,
      ...range,
      limit: 50_000,
    },
    { refreshMs: refreshOf(range) },
  );
  const points = useMemo(
    () => (latency.data && records.data && errors.data ? pointsOf(latency.data, records.data, errors.data) : null),
    [latency.data, records.data, errors.data],
  );
  const failed = [latency, records, errors].find((of) => of.isError && of.data === undefined);
  return (
    <Remote of={failed ?? latency}>
      {() =>
        points === null ? null : points.length === 0 ? (
          <Empty icon={Sparkles} title="No record with a duration in this range">
            Records that carry duration_ms are placed here by time, latency and error rate.
          </Empty>
        ) : (
          <Clusters points={points} span={bucket.span} />
        )
      }
    </Remote>
  );
}

function Clusters({ points, span }: { points: ScatterPoint[]; span: string }) {
  const { search, set } = useUrl();
  const navigate = useNavigate();
  const theme = useTheme((state) => state.theme);
  const zone = useZone((state) => state.zone);
  const eps = bounded(search.eps, 0.02, 0.5, 0.12);
  const minPts = bounded(search.min, 2, 20, 4);
  const byTime = search.time !== "off";
  const narrow = useWidth() < WIDTHS.sm;
  const solid = webglWorks() && search.flat !== "1";
  const settings = useDeferredValue({ eps, minPts, byTime });
  const labels = useMemo(
    () => clusterOf(points, settings.eps, settings.minPts, settings.byTime),
    [points, settings.eps, settings.minPts, settings.byTime],
  );
  const clusters = useMemo(() => describeClusters(points, labels), [points, labels]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another theme means other colours
  const option = useMemo(() => {
    const drawn = { points, labels, zone };
    return solid
      ? solidOption(drawn, matchMedia("(prefers-reduced-motion: reduce)").matches, narrow)
      : flatOption(drawn);
  }, [points, labels, zone, solid, narrow, theme]);
  const open = (index: number | undefined): void => {
    const point = index === undefined ? undefined : points[index];
    if (point) void navigate({ to: "/services/$service", params: { service: point.service } });
  };
  const noise = clusters.find((cluster) => cluster.label === NOISE)?.points ?? 0;
  const label = `${points.length} points of time, p95 latency and error rate: ${clusters.length - (noise > 0 ? 1 : 0)} clusters, ${noise} points of noise. The clusters are listed in the table.`;
  return (
    <div className="flex min-h-0 flex-1 flex-col gap-2 p-3 md:flex-row">
      <div className="flex min-h-96 min-w-0 flex-1 flex-col rounded-lg border border-line bg-surface">
        {solid ? (
          <Chart3D
            label={label}
            option={option}
            onClick={(datum, series) => open(drawnOrder({ points, labels, zone })[series]?.[datum])}
          />
        ) : (
          <Chart
            className="flex-1"
            height="auto"
            label={label}
            option={option}
            onClick={(event) => open((event.value as number[])[3])}
          />
        )}
        <p className="px-3 pb-2 text-xs text-muted">
          A point is a service in {span}. {solid ? "Drag turns, the wheel brings nearer." : ""}
          {points.length === POINTS_MAX ? ` The latest ${formatNumber(POINTS_MAX)} points.` : ""}
        </p>
      </div>
      <div className="flex min-h-0 flex-col gap-3 md:w-96">
        <fieldset className="flex flex-col gap-2 rounded-lg border border-line bg-surface p-3">
          <legend className="sr-only">Clustering (DBSCAN)</legend>
          <Slider
            label="Reach (eps)"
            hint="how near points of a cluster are, each axis 0 to 1"
            value={eps}
            min={0.02}
            max={0.5}
            step={0.01}
            onChange={(value) => set({ eps: String(value) }, { replace: true })}
          />
          <Slider
            label="Company (minPts)"
            hint="points within reach that make a place dense"
            value={minPts}
            min={2}
            max={20}
            step={1}
            onChange={(value) => set({ min: String(value) }, { replace: true })}
          />
          <div className="flex flex-wrap items-center gap-x-4 gap-y-2 text-sm">
            <span className="flex items-center gap-2">
              <Switch
                label="Time counts"
                checked={byTime}
                onChange={(on) => set({ time: on ? undefined : "off" }, { replace: true })}
              />
              Time counts
            </span>
            <span className="ml-auto">
              <Segmented
                label="Drawn"
                value={solid ? "3d" : "flat"}
                onChange={(value) => set({ flat: value === "flat" ? "1" : undefined }, { replace: true })}
                options={
                  webglWorks()
                    ? [
                        { value: "3d", label: "3D" },
                        { value: "flat", label: "Flat" },
                      ]
                    : [
                        {
                          value: "flat",
                          label: "Flat",
                          title: "This browser draws nothing in three dimensions (WebGL)",
                        },
                      ]
                }
              />
            </span>
          </div>
        </fieldset>
        <ClusterTable clusters={clusters} zone={zone} />
      </div>
    </div>
  );
}

function ClusterTable({ clusters, zone }: { clusters: Cluster[]; zone: string }) {
  return (
    <div className="flex min-h-48 flex-1 flex-col rounded-lg border border-line bg-surface">
      <Table
        label="Clusters"
        rows={clusters}
        rowHeight={46}
        keyOf={(cluster) => String(cluster.label)}
        columns={[
          {
            id: "cluster",
            header: "Cluster",
            width: "4.5rem",
            cell: (cluster) => (
              <span className="flex items-center gap-1.5">
                <span
                  aria-hidden
                  className="size-2.5 rounded-sm"
                  style={{ background: clusterColour(cluster.label) }}
                />
                {cluster.label === NOISE ? "noise" : cluster.label + 1}
              </span>
            ),
          },
          {
            id: "services",
            header: "Services",
            width: "minmax(9rem,1fr)",
            cell: (cluster) => (
              <span
                className="flex min-w-0 flex-col"
                title={cluster.services.map(([service, points]) => `${service} (${points})`).join(", ")}
              >
                <span className="truncate">
                  <ServiceLink service={cluster.services[0]?.[0]} />
                  {cluster.services.length > 1 ? ` and ${cluster.services.length - 1} more` : ""}
                </span>
                <span className="tnum truncate text-xs text-muted">
                  {formatTime(cluster.from, zone, "clock").slice(0, 5)}–
                  {formatTime(cluster.to, zone, "clock").slice(0, 5)}, {formatNumber(cluster.points)} points
                </span>
              </span>
            ),
          },
          {
            id: "latency",
            header: "p95",
            align: "right",
            width: "4.5rem",
            cell: (cluster) => formatMs(cluster.medianLatency),
          },
          {
            id: "errors",
            header: "Errors",
            align: "right",
            width: "4.5rem",
            cell: (cluster) => formatShare(cluster.meanErrorRate),
          },
        ]}
      />
    </div>
  );
}

function Slider({
  label,
  hint,
  value,
  min,
  max,
  step,
  onChange,
}: {
  label: string;
  hint: string;
  value: number;
  min: number;
  max: number;
  step: number;
  onChange: (value: number) => void;
}) {
  const id = useId();
  return (
    <div className="flex flex-col gap-0.5 text-sm">
      <span className="flex items-baseline gap-2">
        <label htmlFor={id} className="font-medium">
          {label}
        </label>
        <output htmlFor={id} className="tnum ml-auto font-medium">
          {value}
        </output>
      </span>
      <input
        id={id}
        type="range"
        min={min}
        max={max}
        step={step}
        value={value}
        aria-describedby={`${id}-hint`}
        onChange={(event) => onChange(Number(event.target.value))}
        className="h-6 w-full accent-accent"
      />
      <span id={`${id}-hint`} className="text-xs text-muted">
        {hint}
      </span>
    </div>
  );
}

function bounded(text: string | undefined, min: number, max: number, otherwise: number): number {
  const value = Number(text);
  return text && Number.isFinite(value) ? Math.min(max, Math.max(min, value)) : otherwise;
}
