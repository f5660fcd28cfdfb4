import { useMemo } from "react";
import { formatMs, formatShare, formatShort } from "@/lib/format";
import { Card } from "@/ui/Card";
import { axisBase, Chart, tooltipBase } from "@/viz/Chart";
import { token } from "@/viz/palette";
import type { Minute } from "./api";

interface Series {
  name: string;
  of: (minute: Minute) => number | null | undefined;
  colour?: string;
}

/** The last hour, minute by minute. Minutes in which the server did not run are gaps. */
export function Charts({ history }: { history: Minute[] }) {
  return (
    <div className="grid gap-3 lg:grid-cols-2">
      <Lines
        title="Query latency"
        history={history}
        format={formatMs}
        series={[
          { name: "p50", of: (minute) => minute.p50_ms },
          { name: "p95", of: (minute) => minute.p95_ms },
          { name: "p99", of: (minute) => minute.p99_ms },
        ]}
      />
      <Lines
        title="Records a minute"
        history={history}
        format={formatShort}
        series={[{ name: "records", of: (minute) => minute.records }]}
      />
      <Lines
        title="Queries and errors a minute"
        history={history}
        format={formatShort}
        series={[
          { name: "queries", of: (minute) => minute.queries },
          { name: "errors", of: (minute) => minute.errors, colour: "--critical" },
        ]}
      />
      <Lines
        title="Saturation"
        history={history}
        format={formatShare}
        series={[
          { name: "CPU", of: (minute) => minute.cpu },
          { name: "memory", of: (minute) => minute.memory },
          { name: "disk", of: (minute) => minute.disk },
        ]}
      />
    </div>
  );
}

function Lines({
  title,
  history,
  series,
  format,
}: {
  title: string;
  history: Minute[];
  series: Series[];
  format: (value: number) => string;
}) {
  const option = useMemo(
    () => ({
      legend: {
        show: series.length > 1,
        top: 0,
        right: 0,
        textStyle: { color: token("--muted") },
        icon: "roundRect",
        itemHeight: 3,
      },
      grid: { left: 8, right: 12, top: series.length > 1 ? 26 : 12, bottom: 4, containLabel: true },
      tooltip: {
        ...tooltipBase(),
        trigger: "axis",
        valueFormatter: (value: number | null) => (value === null || value === undefined ? "–" : format(value)),
      },
      xAxis: { type: "time", ...axisBase(), splitLine: { show: false } },
      yAxis: { type: "value", ...axisBase(), axisLabel: { color: token("--muted"), formatter: format } },
      series: series.map((one) => ({
        name: one.name,
        type: "line",
        showSymbol: false,
        connectNulls: false,
        lineStyle: { width: 1.5 },
        ...(one.colour ? { itemStyle: { color: token(one.colour) } } : {}),
        data: history.map((minute) => [minute.at, minute.measured ? (one.of(minute) ?? null) : null]),
      })),
    }),
    [history, series, format],
  );
  return (
    <Card title={title}>
      <Chart label={`${title}, the last hour by minute`} option={option} height={170} />
    </Card>
  );
}
