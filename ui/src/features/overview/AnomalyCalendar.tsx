/** When it was unusual: days by hours, coloured by the highest anomaly score or the number of alerts. */
import { useNavigate } from "@tanstack/react-router";
import type { EChartsCoreOption } from "echarts/core";
import { Table2 } from "lucide-react";
import { useMemo, useState } from "react";
import { useAnswer } from "@/api/query";
import { useTheme } from "@/app/theme";
import { useUrl } from "@/app/url";
import { tipOf } from "@/features/services/tip";
import { formatNumber } from "@/lib/format";
import { formatTime, toRfc3339, useZone, zoneName } from "@/lib/time";
import { useWidth, WIDTHS } from "@/lib/width";
import { IconButton } from "@/ui/Button";
import { Card } from "@/ui/Card";
import { Segmented } from "@/ui/Field";
import { Remote } from "@/ui/States";
import { Table } from "@/ui/Table";
import { axisBase, Chart, tooltipBase } from "@/viz/Chart";
import { shades, token } from "@/viz/palette";
import { CALENDAR_SQL, type Calendar, calendarOf, type Hour } from "./calendar";

type Shown = "score" | "alerts";

const WEEKS = { "7": 7, "14": 14, "28": 28 } as const;

export function AnomalyCalendar() {
  const { search, set } = useUrl();
  const zone = useZone((state) => state.zone);
  const navigate = useNavigate();
  const [table, setTable] = useState(false);
  // A phone has no room for the choice: it shows the default, or what the address says.
  const narrow = useWidth() < WIDTHS.sm;
  const shown: Shown = search.calendar === "alerts" ? "alerts" : "score";
  const days = (search.days ?? "14") in WEEKS ? ((search.days ?? "14") as keyof typeof WEEKS) : "14";
  const answer = useAnswer(
    { query: CALENDAR_SQL, language: "sql", from: `now-${WEEKS[days]}d`, to: "now", limit: 10_000 },
    { refreshMs: 60_000 },
  );
  const open = (hour: Hour): void =>
    void navigate({ to: "/alerts", search: { from: toRfc3339(hour.from), to: toRfc3339(hour.to) } as never });
  return (
    <Card
      title="Anomalies by hour"
      hint={narrow ? undefined : zoneName(zone)}
      padded={false}
      actions={
        <>
          <Segmented
            label="Shown"
            value={shown}
            onChange={(value) => set({ calendar: value === "score" ? undefined : value }, { replace: true })}
            options={[
              { value: "score", label: "Score" },
              { value: "alerts", label: "Alerts" },
            ]}
          />
          {narrow ? null : (
            <Segmented
              label="Days"
              value={days}
              onChange={(value) => set({ days: value === "14" ? undefined : value }, { replace: true })}
              options={Object.keys(WEEKS).map((value) => ({ value: value as keyof typeof WEEKS, label: `${value} d` }))}
            />
          )}
          <IconButton
            icon={Table2}
            label="As a table"
            size="sm"
            pressed={table}
            onClick={() => setTable((before) => !before)}
          />
        </>
      }
    >
      <Remote of={answer}>
        {(data) => <Hours answer={data} days={WEEKS[days]} shown={shown} table={table} zone={zone} onOpen={open} />}
      </Remote>
    </Card>
  );
}

function Hours({
  answer,
  days,
  shown,
  table,
  zone,
  onOpen,
}: {
  answer: Parameters<typeof calendarOf>[0];
  days: number;
  shown: Shown;
  table: boolean;
  zone: string;
  onOpen: (hour: Hour) => void;
}) {
  const theme = useTheme((state) => state.theme);
  const calendar = useMemo(() => calendarOf(answer, Date.now(), days, zone), [answer, days, zone]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another theme means other colours
  const option = useMemo(
    () => heatmap(calendar, shown, Number(formatTime(Date.now(), zone, "clock").slice(0, 2))),
    [calendar, shown, zone, theme],
  );
  const worst = calendar.hours.reduce<Hour | null>(
    (found, hour) => (found && found.score >= hour.score ? found : hour),
    null,
  );
  if (table)
    return (
      <Table
        label="Hours with alerts"
        className="max-h-80"
        rows={calendar.hours}
        keyOf={(hour) => `${hour.day} ${hour.hour}`}
        onOpen={onOpen}
        columns={[
          {
            id: "hour",
            header: "Hour",
            width: "minmax(9rem,1fr)",
            cell: (hour) => formatTime(hour.from, zone, "minute"),
          },
          { id: "alerts", header: "Alerts", align: "right", width: "5rem", cell: (hour) => formatNumber(hour.alerts) },
          {
            id: "critical",
            header: "Critical",
            align: "right",
            width: "5rem",
            cell: (hour) => formatNumber(hour.critical),
          },
          { id: "score", header: "Score", align: "right", width: "5rem", cell: (hour) => hour.score.toFixed(2) },
        ]}
      />
    );
  return (
    <div className="p-2">
      <Chart
        label={
          worst
            ? `Anomalies of ${days} days by hour: ${calendar.hours.length} hours had alerts, the highest score ${worst.score.toFixed(2)} at ${formatTime(worst.from, zone, "minute")}`
            : `Anomalies of ${days} days by hour: none`
        }
        option={option}
        height={days * 15 + 56}
        onClick={(event) => {
          const [x, y] = event.value as [number, number];
          const hour = calendar.hours.find((found) => found.hour === x && found.day === y);
          if (hour) onOpen(hour);
        }}
      />
      {calendar.hours.length === 0 ? (
        <p className="pb-1 text-center text-xs text-muted">No alert in these {days} days</p>
      ) : null}
    </div>
  );
}

/** Hours of today after `hour` have not been yet: they are not drawn. */
function heatmap({ days, hours }: Calendar, shown: Shown, hour: number): EChartsCoreOption {
  const axis = axisBase() as { axisLabel: Record<string, unknown> };
  const most = shown === "score" ? 1 : Math.max(1, ...hours.map((hour) => hour.alerts));
  const places = new Map(hours.map((hour) => [`${hour.hour} ${hour.day}`, hour]));
  const weekday = (day: string): string =>
    new Intl.DateTimeFormat("en", { weekday: "short", timeZone: "UTC" }).format(new Date(`${day}T00:00:00Z`));
  return {
    grid: { left: 4, right: 8, top: 4, bottom: 30, containLabel: true },
    tooltip: {
      ...tooltipBase(),
      formatter: (item: unknown) => {
        const [x, y] = (item as { value: [number, number] }).value;
        const found = places.get(`${x} ${y}`);
        const title = `${days[y] ?? ""} ${String(x).padStart(2, "0")}:00`;
        return found
          ? tipOf(
              title,
              [
                { name: "Highest score", value: found.score.toFixed(2) },
                { name: "Alerts", value: formatNumber(found.alerts) },
                { name: "Critical", value: formatNumber(found.critical) },
              ],
              "Click: the alerts of this hour",
            )
          : tipOf(title, [], "No alert");
      },
    },
    xAxis: {
      ...axis,
      type: "category",
      data: Array.from({ length: 24 }, (_, hour) => String(hour).padStart(2, "0")),
      axisLine: { show: false },
      splitArea: { show: false },
    },
    yAxis: {
      ...axis,
      type: "category",
      inverse: true,
      data: days,
      axisLine: { show: false },
      axisLabel: {
        ...axis.axisLabel,
        interval: 0,
        fontSize: 10,
        formatter: (day: string) => `${weekday(day)} ${day.slice(5)}`,
      },
    },
    visualMap: {
      min: 0,
      max: most,
      calculable: false,
      orient: "horizontal",
      left: "center",
      bottom: 0,
      itemWidth: 10,
      itemHeight: 90,
      text: [shown === "score" ? "1" : String(most), "0"],
      textStyle: { color: token("--muted"), fontSize: 10 },
      inRange: { color: shades() },
      dimension: 2,
    },
    series: [
      {
        type: "heatmap",
        data: days.flatMap((_, day) =>
          Array.from({ length: day === 0 ? hour + 1 : 24 }, (_, of) => [
            of,
            day,
            places.get(`${of} ${day}`)?.[shown] ?? 0,
          ]),
        ),
        itemStyle: { borderColor: token("--surface"), borderWidth: 1.5, borderRadius: 2 },
        emphasis: { itemStyle: { borderColor: token("--fg"), borderWidth: 1 } },
      },
    ],
  };
}
