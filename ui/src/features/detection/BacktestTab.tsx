import { FlaskConical, X } from "lucide-react";
import { useMemo } from "react";
import { asApiError } from "@/api/problem";
import { TimePicker } from "@/app/TimePicker";
import { useRange } from "@/app/url";
import { formatMs, formatNumber } from "@/lib/format";
import { formatTime, useZone } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Stat } from "@/ui/Card";
import { Spinner } from "@/ui/States";
import { axisBase, Chart, tooltipBase } from "@/viz/Chart";
import { token } from "@/viz/palette";
import { type Backtest, backtestRule } from "./api";
import { AlertSample, RecordSample } from "./SampleList";
import { useTrial } from "./useTrial";

/** The rule on stored records: what it would have found, by hour. `rule` names one in force, whose text is not looked at. */
export function BacktestTab({ yaml, rule, ready }: { yaml: string; rule: string | null; ready: boolean }) {
  const { range } = useRange();
  const { trial, cancel } = useTrial((text: string, signal) =>
    backtestRule({ ...(rule ? { rule } : { yaml: text }), from: range.from, to: range.to }, signal),
  );
  return (
    <div className="flex flex-col gap-3 pt-3">
      <div className="flex flex-wrap items-center gap-2">
        <TimePicker />
        <Button icon={FlaskConical} busy={trial.isPending} disabled={!ready} onClick={() => trial.mutate(yaml)}>
          Backtest
        </Button>
        {trial.isPending ? (
          <Button icon={X} onClick={cancel}>
            Cancel
          </Button>
        ) : null}
      </div>
      <p role="status" className="text-xs text-muted">
        {trial.isPending ? (
          <span className="inline-flex items-center gap-1.5">
            <Spinner /> The records of the range pass the rule again, oldest first. Sigma rules read all of them.
          </span>
        ) : trial.data && trial.variables !== yaml ? (
          "The rule was changed since: this is what it found before."
        ) : !trial.data ? (
          "Nothing is raised: it says what would have been."
        ) : null}
      </p>
      {trial.isError ? (
        <p role="alert" className="text-sm text-critical">
          {asApiError(trial.error).detail}
        </p>
      ) : null}
      {trial.data && !trial.isPending ? <Found found={trial.data} /> : null}
    </div>
  );
}

function Found({ found }: { found: Backtest }) {
  const zone = useZone((state) => state.zone);
  const option = useMemo(
    () => ({
      tooltip: { ...tooltipBase(), trigger: "axis" },
      xAxis: { type: "time", min: found.from, max: found.to, ...axisBase(), splitLine: { show: false } },
      yAxis: { type: "value", minInterval: 1, ...axisBase() },
      series: [
        {
          name: "matches",
          type: "bar",
          barMaxWidth: 32,
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
      <p className="tnum text-xs text-faint">
        {formatTime(found.from, zone)} to {formatTime(found.to, zone)}
      </p>
      {found.matches === 0 ? (
        <p className="text-sm text-muted">It finds nothing in this range.</p>
      ) : (
        <Chart label={`${found.matches} matches by hour`} option={option} height={150} />
      )}
      {found.alert_sample.length > 0 ? (
        <section>
          <h3 className="text-sm font-semibold">
            {found.alerts > found.alert_sample.length ? `The first ${found.alert_sample.length} alerts` : "Alerts"}
          </h3>
          <AlertSample items={found.alert_sample} />
        </section>
      ) : null}
      {found.sample.length > 0 ? (
        <section>
          <h3 className="text-sm font-semibold">
            {found.matches > found.sample.length ? `${found.sample.length} of the matches` : "Matches"}
          </h3>
          <RecordSample items={found.sample} />
        </section>
      ) : null}
    </div>
  );
}
