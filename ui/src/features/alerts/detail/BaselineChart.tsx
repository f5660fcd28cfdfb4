import type { EChartsCoreOption } from "echarts/core";
import { useMemo, useState } from "react";
import { useAnswer } from "@/api/query";
import { useTheme } from "@/app/theme";
import { formatUnit } from "@/lib/format";
import { formatTime, useZone, zoneName } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Card } from "@/ui/Card";
import { Empty, Failed, Skeleton } from "@/ui/States";
import { axisBase, Chart } from "@/viz/Chart";
import { token } from "@/viz/palette";
import type { AlertDetail } from "../model";
import {
  anomalies,
  type Band,
  bandOf,
  type Point,
  pointsOf,
  questionOf,
  roundUp,
  type Series,
  seriesOf,
  windowOf,
} from "./band";
import { ExploreLink } from "./ExploreLink";

/** The series the alert is about, before, during and after, with the band of the usual and what lies beyond it. */
export function BaselineChart({ alert }: { alert: AlertDetail }) {
  const zone = useZone((state) => state.zone);
  const theme = useTheme((state) => state.theme);
  const [asTable, setAsTable] = useState(false);
  // The window moves on in steps of half a minute: an alert that goes on is followed, a past one is not asked for again.
  const clock = Math.ceil(Date.now() / 30_000) * 30_000;
  const { first_seen, last_seen } = alert;
  const window = useMemo(() => windowOf({ first_seen, last_seen }, clock), [first_seen, last_seen, clock]);
  const series = useMemo(() => seriesOf(alert), [alert]);
  const { question, bucketMs } = useMemo(() => questionOf(series, window), [series, window]);
  const answer = useAnswer(question);
  const points = useMemo(
    () => (answer.data ? pointsOf(answer.data, series, bucketMs, window) : []),
    [answer.data, series, bucketMs, window],
  );
  const band = series.hasBand && alert.baseline ? bandOf(alert.baseline) : null;
  // biome-ignore lint/correctness/useExhaustiveDependencies: another theme means other colours
  const option = useMemo(
    () => optionOf({ alert, series, points, band, zone, window }),
    [alert, series, points, band?.threshold, zone, window, theme],
  );
  const beyond = band ? anomalies(points, band) : [];
  const label = `${series.title} from ${formatTime(window.from, zone, "minute")} to ${formatTime(window.to, zone, "minute")}${
    band
      ? `${band.isBound ? "" : `; usual ${formatUnit(band.mean, series.unit)}`}; threshold ${formatUnit(band.threshold, series.unit)}, ${beyond.length} points beyond it`
      : ""
  }`;
  return (
    <Card
      title={series.title}
      hint={zoneName(zone)}
      actions={
        <>
          <Button kind="ghost" size="sm" aria-pressed={asTable} onClick={() => setAsTable(!asTable)}>
            {asTable ? "As chart" : "As table"}
          </Button>
          <ExploreLink q={`${series.where}`} from={window.from} to={window.to} />
        </>
      }
    >
      {answer.isError && !answer.data ? (
        <Failed error={answer.error} onRetry={() => void answer.refetch()} />
      ) : !answer.data ? (
        <Skeleton rows={6} />
      ) : points.length === 0 ? (
        <Empty title="No records of that time" className="py-6">
          {alert.detector === "external"
            ? "The alert was posted by another system; Heimdall holds no records about its subject."
            : "They were not kept, or their time is over."}
        </Empty>
      ) : asTable ? (
        <PointsTable points={points} series={series} zone={zone} band={band} />
      ) : (
        <>
          <Chart label={label} option={option} height={230} />
          <Legend band={band} series={series} beyond={beyond.length} />
        </>
      )}
    </Card>
  );
}

function Legend({ band, series, beyond }: { band: Band | null; series: Series; beyond: number }) {
  return (
    <ul className="mt-1 flex flex-wrap gap-x-4 gap-y-1 text-xs text-muted">
      <Key colour="var(--accent)">{series.as === "value" ? "mean of the bucket" : "observed"}</Key>
      {band ? (
        <>
          {band.isBound ? null : (
            <Key colour="var(--ok)" soft>
              usual, around {formatUnit(band.mean, series.unit)}
            </Key>
          )}
          <Key colour="var(--critical)" dashed>
            threshold {formatUnit(band.threshold, series.unit)}
          </Key>
          <Key colour="var(--critical)" dot>
            {beyond} beyond it
          </Key>
        </>
      ) : null}
      <Key colour="var(--warning)" soft>
        while the alert was seen
      </Key>
    </ul>
  );
}

function Key({
  colour,
  children,
  soft,
  dashed,
  dot,
}: {
  colour: string;
  children: React.ReactNode;
  soft?: boolean;
  dashed?: boolean;
  dot?: boolean;
}) {
  return (
    <li className="flex items-center gap-1.5">
      <svg width={16} height={10} aria-hidden>
        {dot ? (
          <path d="M8 1 L13 9 L3 9 Z" fill={colour} />
        ) : soft ? (
          <rect width={16} height={10} fill={colour} opacity={0.25} />
        ) : (
          <line
            x1={0}
            x2={16}
            y1={5}
            y2={5}
            stroke={colour}
            strokeWidth={2}
            strokeDasharray={dashed ? "4 3" : undefined}
          />
        )}
      </svg>
      {children}
    </li>
  );
}

function PointsTable({
  points,
  series,
  zone,
  band,
}: {
  points: Point[];
  series: Series;
  zone: string;
  band: Band | null;
}) {
  const beyond = new Set(band ? anomalies(points, band).map((point) => point.at) : []);
  return (
    <div className="max-h-64 overflow-auto">
      <table className="w-full text-sm">
        <caption className="sr-only">{series.title}</caption>
        <thead>
          <tr className="text-left text-xs text-muted">
            <th className="py-1 font-medium">Time</th>
            <th className="text-right font-medium">Value</th>
            <th className="pl-4 font-medium">Beyond the threshold</th>
          </tr>
        </thead>
        <tbody>
          {points.map((point) => (
            <tr key={point.at} className="border-t border-line/60">
              <td className="tnum py-0.5">{formatTime(point.at, zone)}</td>
              <td className="tnum text-right">{formatUnit(point.value, series.unit)}</td>
              <td className="pl-4">{beyond.has(point.at) ? "yes" : ""}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface Drawn {
  alert: AlertDetail;
  series: Series;
  points: Point[];
  band: Band | null;
  zone: string;
  window: { from: number; to: number };
}

function optionOf({ alert, series, points, band, zone, window }: Drawn): EChartsCoreOption {
  const first = Date.parse(alert.first_seen);
  const last = Math.max(Date.parse(alert.last_seen), first + (window.to - window.from) / 200);
  const unit = (value: number): string => formatUnit(value, series.unit);
  const marks = band ? anomalies(points, band) : [];
  const top = Math.max(band?.threshold ?? 0, ...points.map((point) => point.high ?? point.value));
  const axis = axisBase();
  return {
    grid: { left: 8, right: 16, top: 14, bottom: 4, containLabel: true },
    xAxis: {
      ...axis,
      type: "time",
      min: window.from,
      max: window.to,
      splitLine: { show: false },
      axisLabel: {
        ...(axis.axisLabel as object),
        formatter: (value: number) => formatTime(value, zone, "clock").slice(0, 5),
      },
    },
    yAxis: {
      ...axis,
      type: "value",
      max: series.unit === "percent" && top <= 100 ? 100 : top > 0 ? roundUp(top * 1.03) : undefined,
      axisLabel: { ...(axis.axisLabel as object), formatter: unit },
    },
    tooltip: {
      trigger: "axis",
      formatter: (parts: unknown) => {
        const [part] = parts as { value?: [number, number] }[];
        if (!part?.value) return "";
        const point = points.find((each) => each.at === part.value?.[0]);
        const high = point?.high === undefined ? "" : `<br>largest ${unit(point.high)}`;
        return `${formatTime(part.value[0], zone)}<br>${unit(part.value[1])}${high}`;
      },
    },
    series: [
      {
        type: "line",
        name: series.title,
        data: points.map((point) => [point.at, point.value]),
        showSymbol: points.length < 3,
        symbolSize: 4,
        lineStyle: { width: 1.6, color: token("--accent") },
        itemStyle: { color: token("--accent") },
        areaStyle: { color: token("--accent"), opacity: 0.07 },
        z: 3,
        markArea: {
          silent: true,
          data: [
            ...(band && !band.isBound
              ? [[{ yAxis: band.low, itemStyle: { color: token("--ok"), opacity: 0.13 } }, { yAxis: band.high }]]
              : []),
            [{ xAxis: first, itemStyle: { color: token("--warning"), opacity: 0.13 } }, { xAxis: last }],
          ],
        },
        markLine: {
          silent: true,
          symbol: "none",
          label: { show: false },
          data: band
            ? [
                { yAxis: band.threshold, lineStyle: { color: token("--critical"), type: "dashed", width: 1.4 } },
                ...(band.isBound
                  ? []
                  : [{ yAxis: band.mean, lineStyle: { color: token("--ok"), type: "solid", width: 1, opacity: 0.8 } }]),
              ]
            : [],
        },
      },
      {
        type: "scatter",
        name: "beyond the threshold",
        silent: true,
        symbol: "triangle",
        symbolSize: 8,
        itemStyle: { color: token("--critical") },
        data: marks.map((point) => [point.at, band?.falls ? point.value : (point.high ?? point.value)]),
        z: 4,
      },
    ],
  };
}
