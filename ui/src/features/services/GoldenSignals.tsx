/** Traffic, errors, latency, saturation: of one service or of all, with what happened marked on them. */
import type { UseQueryResult } from "@tanstack/react-query";
import { useMemo } from "react";
import { useTheme } from "@/app/theme";
import { useRange } from "@/app/url";
import { cx } from "@/lib/cx";
import { formatMs, formatNumber, formatShare, formatShort, formatUnit, type Unit } from "@/lib/format";
import { resolveRange, toRfc3339, useZone } from "@/lib/time";
import { Card } from "@/ui/Card";
import { Remote } from "@/ui/States";
import { Chart } from "@/viz/Chart";
import { seriesColours } from "@/viz/palette";
import { type Answer, useSignals } from "./api";
import { columnsOverTime, latest, namesOverTime, trafficOf, wholeBuckets } from "./series";
import { describeMarks, type Line, type Mark, timeOption } from "./timeOption";

const SATURATION: [name: string, label: string][] = [
  ["cpu_usage", "CPU"],
  ["memory_usage", "Memory"],
  ["disk_usage", "Disk"],
];

export function GoldenSignals({ service, marks, wide }: { service?: string; marks: Mark[]; wide?: boolean }) {
  const { range } = useRange();
  const { levels, latency, saturation, bucket } = useSignals(range, service);
  const of = service ?? "all services";
  return (
    <section
      aria-label={`Golden signals of ${of}`}
      className={cx("grid gap-3 sm:grid-cols-2", wide ? "lg:grid-cols-4" : "3xl:grid-cols-4")}
    >
      <Signal
        title="Traffic"
        marks={marks}
        bucketMs={bucket.ms}
        data={levels}
        unit="per_second"
        label={`Records a second of ${of}`}
      >
        {(answer, starts) => {
          const { total, perSecond } = trafficOf(answer, starts, bucket.ms);
          return {
            value: `${formatShort(latest(perSecond) ?? 0)}/s`,
            hint: `${formatNumber(total)} records`,
            lines: [{ name: "Records a second", points: perSecond, area: true }],
          };
        }}
      </Signal>
      <Signal
        title="Errors"
        marks={marks}
        bucketMs={bucket.ms}
        data={levels}
        unit="share"
        label={`Share of errors of ${of}`}
      >
        {(answer, starts) => {
          const { total, errors, share } = trafficOf(answer, starts, bucket.ms);
          return {
            value: total > 0 ? formatShare(errors / total) : "–",
            hint: `${formatNumber(errors)} errors`,
            lines: [{ name: "Share of errors", points: share, area: true, tone: "--critical" }],
          };
        }}
      </Signal>
      <Signal title="Latency" marks={marks} bucketMs={bucket.ms} data={latency} unit="ms" label={`Latency of ${of}`}>
        {(answer, starts) => {
          const found = columnsOverTime(answer, ["p50", "p95", "p99"], starts);
          const p95 = latest(found.get("p95") ?? []);
          return {
            value: p95 === null ? "–" : formatMs(p95),
            hint: "p95 now",
            none: "No record has duration_ms",
            lines: [...found].map(([name, points]) => ({ name, points })),
          };
        }}
      </Signal>
      <Signal
        title="Saturation"
        marks={marks}
        bucketMs={bucket.ms}
        data={saturation}
        unit="percent"
        max={100}
        label={`Saturation of ${of}`}
      >
        {(answer, starts) => {
          const found = namesOverTime(answer, "percent", starts);
          const lines = SATURATION.flatMap(([name, label]): Line[] => {
            const points = found.get(name);
            return points ? [{ name: label, points }] : [];
          });
          const tops = lines.map((line) => latest(line.points) ?? 0);
          const top = tops.length > 0 ? Math.max(...tops) : null;
          return {
            value: top === null ? "–" : formatUnit(top, "percent"),
            hint: top === null ? "" : `${lines[tops.indexOf(top)]?.name ?? ""} of the fullest host`,
            none: "No samples of CPU, memory or disk: an agent on the hosts sends them",
            lines,
          };
        }}
      </Signal>
    </section>
  );
}

interface Drawn {
  value: string;
  hint: string;
  lines: Line[];
  /** Said when no line has a point. */
  none?: string;
}

interface SignalProps {
  label: string;
  unit: Unit;
  max?: number;
  marks: Mark[];
  bucketMs: number;
  children: (answer: Answer, starts: number[]) => Drawn;
}

function Signal({ title, data, ...rest }: SignalProps & { title: string; data: UseQueryResult<Answer, Error> }) {
  return (
    <Card title={title} padded={false}>
      <Remote of={data}>{(answer) => <SignalChart answer={answer} {...rest} />}</Remote>
    </Card>
  );
}

function SignalChart({ answer, children: draw, label, unit, max, marks, bucketMs }: SignalProps & { answer: Answer }) {
  const { range, setRange } = useRange();
  const zone = useZone((state) => state.zone);
  const theme = useTheme((state) => state.theme);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new answer means a new end of a range that moves
  const { from, to } = useMemo(() => resolveRange(range), [range, answer]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: what is drawn depends on the answer only
  const drawn = useMemo(() => draw(answer, wholeBuckets(from, to, bucketMs)), [answer, from, to, bucketMs]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another theme means other colours
  const option = useMemo(
    () => timeOption({ lines: drawn.lines, marks, unit, zone, from, to, max }),
    [drawn, marks, unit, zone, from, to, max, theme],
  );
  const empty = drawn.lines.every((line) => line.points.every(([, value]) => value === null));
  const colours = seriesColours();
  return (
    <div className="flex flex-col gap-1 p-2">
      <div className="flex items-baseline gap-2 px-1">
        <span className="tnum text-xl font-semibold whitespace-nowrap">{drawn.value}</span>
        <span className="truncate text-xs text-muted">{drawn.hint}</span>
        {drawn.lines.length > 1 ? (
          <ul className="ml-auto flex shrink-0 gap-2 text-2xs text-muted">
            {drawn.lines.map((line, index) => (
              <li key={line.name} className="flex items-center gap-1">
                <span aria-hidden className="h-0.5 w-3 rounded" style={{ background: colours[index] }} />
                {line.name}
              </li>
            ))}
          </ul>
        ) : null}
      </div>
      {empty ? (
        <p className="flex h-28 items-center justify-center px-3 text-center text-xs text-muted">
          {drawn.none ?? "Nothing in this range"}
        </p>
      ) : (
        <Chart
          label={[`${label}: ${drawn.value}, ${drawn.hint}`, describeMarks(marks, zone)].filter(Boolean).join(". ")}
          option={option}
          height={112}
          merge
          onSelectRange={(start, end) => setRange({ from: toRfc3339(start), to: toRfc3339(end) })}
        />
      )}
    </div>
  );
}
