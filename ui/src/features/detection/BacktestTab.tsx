import { useMutation } from "@tanstack/react-query";
import { FlaskConical } from "lucide-react";
import { useEffect, useMemo, useRef } from "react";
import { asApiError } from "@/api/problem";
import { TimePicker } from "@/app/TimePicker";
import { useRange } from "@/app/url";
import { formatMs, formatNumber } from "@/lib/format";
import { Button } from "@/ui/Button";
import { Stat } from "@/ui/Card";
import { axisBase, Chart } from "@/viz/Chart";
import { token } from "@/viz/palette";
import { type Backtest, backtestRule } from "./api";
import { SampleList } from "./SampleList";

/** The rule on stored records: what it would have found, by hour. */
export function BacktestTab({ yaml, ready }: { yaml: string; ready: boolean }) {
  const { range } = useRange();
  const abort = useRef<AbortController | null>(null);
  const backtest = useMutation({
    mutationFn: () => {
      abort.current?.abort();
      abort.current = new AbortController();
      return backtestRule({ yaml, from: range.from, to: range.to }, abort.current.signal);
    },
  });
  useEffect(() => () => abort.current?.abort(), []);
  return (
    <div className="flex flex-col gap-3 pt-3">
      <div className="flex flex-wrap items-center gap-2">
        <TimePicker />
        <Button icon={FlaskConical} busy={backtest.isPending} disabled={!ready} onClick={() => backtest.mutate()}>
          Try it on what is stored
        </Button>
      </div>
      {backtest.isError ? (
        <p role="alert" className="text-sm text-critical">
          {asApiError(backtest.error).detail}
        </p>
      ) : null}
      {backtest.data ? <Found found={backtest.data} /> : null}
    </div>
  );
}

function Found({ found }: { found: Backtest }) {
  const option = useMemo(
    () => ({
      tooltip: {
        trigger: "axis",
        backgroundColor: token("--raised"),
        borderColor: token("--line"),
        textStyle: { color: token("--fg"), fontSize: 12 },
      },
      xAxis: { type: "time", ...axisBase(), splitLine: { show: false } },
      yAxis: { type: "value", minInterval: 1, ...axisBase() },
      series: [
        {
          name: "matches",
          type: "bar",
          data: found.per_hour.map((hour) => [hour.at, hour.count]),
          itemStyle: { color: token("--accent") },
        },
      ],
    }),
    [found],
  );
  return (
    <div className="flex flex-col gap-3">
      <div className="grid grid-cols-2 gap-4 sm:grid-cols-4">
        <Stat label="Records judged" value={formatNumber(found.records)} />
        <Stat label="Matches" value={formatNumber(found.matches)} />
        <Stat label="Alerts" value={formatNumber(found.alerts)} tone={found.alerts > 0 ? "warning" : undefined} />
        <Stat label="Took" value={formatMs(found.took_ms)} />
      </div>
      <Chart label={`${found.matches} matches by hour`} option={option} height={150} />
      <SampleList items={found.sample} />
    </div>
  );
}
