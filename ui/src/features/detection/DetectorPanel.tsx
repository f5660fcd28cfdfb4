import { FlaskConical, X } from "lucide-react";
import { Slider } from "radix-ui";
import { useMemo, useState } from "react";
import { asApiError } from "@/api/problem";
import { TimePicker } from "@/app/TimePicker";
import { useRange } from "@/app/url";
import { useCan } from "@/app/whoami";
import { cx } from "@/lib/cx";
import { formatMs, formatNumber, formatShort } from "@/lib/format";
import { formatTime, useZone } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Stat } from "@/ui/Card";
import { Dialog } from "@/ui/Dialog";
import { Switch } from "@/ui/Field";
import { Badge } from "@/ui/Severity";
import { Spinner } from "@/ui/States";
import { axisBase, Chart, tooltipBase } from "@/viz/Chart";
import { token } from "@/viz/palette";
import { type Detector, type Preview, precisionText, previewDetector, useTune } from "./api";
import { AlertSample } from "./SampleList";
import { useTrial } from "./useTrial";

const FACTOR = { min: 0.25, max: 4 };

/** The slider is even by ratio: half and double lie equally far from one. */
export function factorOf(position: number): number {
  return Math.round(2 ** position * 100) / 100;
}

/** One detector: switches, the slider with what it would have changed, feedback by rule. */
export function DetectorPanel({ detector, onClose }: { detector: Detector; onClose: () => void }) {
  const can = useCan("admin");
  const zone = useZone((state) => state.zone);
  const tune = useTune();
  const why = can ? undefined : "Needs the scope admin";
  return (
    <Dialog
      side
      wide
      open
      onOpenChange={(open) => !open && onClose()}
      title={detector.name}
      description={`${formatNumber(detector.evaluated)} judged, ${formatNumber(detector.verdicts)} findings, ${precisionText(detector.feedback)}`}
    >
      <div className="flex flex-col gap-6 text-sm">
        <section className="flex flex-col gap-2.5" title={why}>
          <Line label="Runs" hint="Off: it sees nothing, and keeps what it learnt.">
            <Switch
              label="Runs"
              checked={detector.enabled}
              disabled={!can || tune.isPending}
              title={why}
              onChange={(enabled) => tune.mutate({ name: detector.name, enabled })}
            />
          </Line>
          <Line label="Dry run" hint="It goes on judging and counting, and raises nothing.">
            <Switch
              label="Dry run"
              checked={detector.dry_run}
              disabled={!can || tune.isPending}
              title={why}
              onChange={(dry_run) => tune.mutate({ name: detector.name, dry_run })}
            />
          </Line>
          {detector.tuned ? (
            <p className="text-xs text-faint">
              changed by {detector.tuned.by}, {formatTime(detector.tuned.at, zone, "minute")}; it holds over restarts
            </p>
          ) : null}
        </section>
        {detector.adjustable ? (
          // What was set elsewhere, or just now, is where the slider begins.
          <Threshold key={detector.threshold_factor} detector={detector} />
        ) : (
          <section>
            <h3 className="font-semibold">Threshold</h3>
            <p className="text-muted">It has no thresholds that a factor moves: its rules say what counts.</p>
          </section>
        )}
        <section>
          <h3 className="mb-1.5 font-semibold">What it did since the start</h3>
          <dl className="grid grid-cols-2 gap-4 sm:grid-cols-4">
            {COUNTS.map(([name, label, hint]) => (
              <div key={name} title={hint}>
                <dt className="text-xs text-muted">{label}</dt>
                <dd className={cx("tnum text-base font-medium", detector[name] === 0 && "text-faint")}>
                  {formatNumber(detector[name])}
                </dd>
              </div>
            ))}
          </dl>
        </section>
        {detector.rules.length > 0 ? (
          <section>
            <h3 className="mb-1.5 font-semibold">What people said, by rule</h3>
            <ul className="flex flex-col gap-1">
              {detector.rules.map((rule) => (
                <li key={rule.rule} className="flex flex-wrap gap-x-3">
                  <code className="min-w-0 flex-1 truncate font-mono text-xs">{rule.rule}</code>
                  <span className="text-muted">{precisionText(rule.feedback)}</span>
                  {rule.suggestion ? <span className="text-warning">better in dry run</span> : null}
                </li>
              ))}
            </ul>
          </section>
        ) : null}
      </div>
    </Dialog>
  );
}

const COUNTS = [
  ["keys", "Follows", "Baselines and counts it keeps"],
  ["verdicts", "Findings", "What it found, raised or not"],
  ["rehearsed", "Rehearsed", "Findings in dry run: they raised nothing"],
  ["silenced", "Held back", "Findings of rules that are switched off"],
  ["late", "Too late", "Records older than what it still looks at"],
  ["ahead", "Too early", "Records with a time in the future"],
  ["invalid", "Unusable", "Records whose values it could not use"],
  ["evicted", "Forgotten", "Baselines given up to stay within its memory"],
] as const;

function Threshold({ detector }: { detector: Detector }) {
  const can = useCan("admin");
  const tune = useTune();
  const { range } = useRange();
  const kept = detector.threshold_factor;
  const [position, setPosition] = useState(Math.log2(kept));
  const factor = factorOf(position);
  const { trial, cancel } = useTrial((threshold_factor: number, signal) =>
    previewDetector(detector.name, { threshold_factor, from: range.from, to: range.to }, signal),
  );
  const changed = Math.abs(factor - kept) > 0.005;
  return (
    <section className="flex flex-col gap-3">
      <div className="flex flex-wrap items-center gap-2">
        <h3 className="font-semibold">Threshold</h3>
        <span className="tnum text-muted">
          × {factor.toFixed(2)} by hand
          {changed ? `, now × ${kept.toFixed(2)}` : ""}
          {detector.adjustment !== 1 ? `, × ${detector.adjustment.toFixed(2)} from feedback` : ""}
        </span>
        {changed ? (
          <Button size="sm" kind="ghost" onClick={() => setPosition(Math.log2(kept))}>
            Back
          </Button>
        ) : null}
      </div>
      <Slider.Root
        min={Math.log2(FACTOR.min)}
        max={Math.log2(FACTOR.max)}
        step={0.05}
        value={[position]}
        onValueChange={([next]) => setPosition(next ?? 0)}
        className="relative flex h-6 w-full touch-none items-center select-none"
      >
        <Slider.Track className="relative h-1.5 flex-1 rounded-full bg-hover">
          <Slider.Range className="absolute h-full rounded-full bg-accent" />
        </Slider.Track>
        <Slider.Thumb
          aria-label="Threshold factor"
          aria-valuetext={`times ${factor.toFixed(2)}`}
          className="block size-6 rounded-full border-2 border-accent bg-surface shadow"
        />
      </Slider.Root>
      <div className="flex justify-between text-xs text-muted">
        <span>× {FACTOR.min}, more sensitive</span>
        <span className="max-sm:hidden">as configured</span>
        <span>× {FACTOR.max}, less sensitive</span>
      </div>
      <div className="flex flex-wrap items-center gap-2">
        <TimePicker />
        <Button icon={FlaskConical} busy={trial.isPending} onClick={() => trial.mutate(factor)}>
          Try × {factor.toFixed(2)} on what happened
        </Button>
        {trial.isPending ? (
          <Button icon={X} onClick={cancel}>
            Cancel
          </Button>
        ) : null}
        <Button
          kind="primary"
          disabled={!can || !changed}
          title={can ? (trial.data ? undefined : "Try it first: it costs nothing") : "Needs the scope admin"}
          busy={tune.isPending}
          onClick={() => tune.mutate({ name: detector.name, threshold_factor: factor })}
        >
          Set × {factor.toFixed(2)}
        </Button>
      </div>
      {trial.isPending ? (
        <p role="status" className="inline-flex items-center gap-1.5 text-xs text-muted">
          <Spinner /> The records of the range pass the detector twice, after an hour in which it learns.
        </p>
      ) : null}
      {trial.isError ? (
        <p role="alert" className="text-critical">
          {asApiError(trial.error).detail}
        </p>
      ) : null}
      {trial.data && !trial.isPending ? <Difference preview={trial.data} factor={trial.variables} /> : null}
    </section>
  );
}

function Line({ label, hint, children }: { label: string; hint: string; children: React.ReactNode }) {
  return (
    <div className="flex items-center gap-3">
      <div className="flex-1">
        <div className="font-medium">{label}</div>
        <div className="text-xs text-muted">{hint}</div>
      </div>
      {children}
    </div>
  );
}

function Difference({ preview, factor }: { preview: Preview; factor: number }) {
  const option = useMemo(
    () => ({
      legend: { show: true, top: 0, right: 0, textStyle: { color: token("--muted") } },
      grid: { left: 8, right: 12, top: 28, bottom: 4, containLabel: true },
      tooltip: { ...tooltipBase(), trigger: "axis" },
      xAxis: { type: "time", min: preview.from, max: preview.to, ...axisBase(), splitLine: { show: false } },
      yAxis: { type: "value", minInterval: 1, ...axisBase() },
      series: [
        {
          name: "now",
          type: "bar",
          barMaxWidth: 24,
          data: preview.per_hour.map((hour) => [hour.at, hour.now]),
          itemStyle: { color: token("--faint") },
        },
        {
          name: `× ${factor.toFixed(2)}`,
          type: "bar",
          barMaxWidth: 24,
          data: preview.per_hour.map((hour) => [hour.at, hour.then]),
          itemStyle: { color: token("--accent") },
        },
      ],
    }),
    [preview, factor],
  );
  const more = preview.alerts_then - preview.alerts_now;
  return (
    <div className="flex flex-col gap-2 rounded-md border border-line p-3">
      <div className="grid grid-cols-2 gap-4 sm:grid-cols-4">
        <Stat label="Alerts as it is" value={formatNumber(preview.alerts_now)} />
        <Stat label={`Alerts at × ${factor.toFixed(2)}`} value={formatNumber(preview.alerts_then)} />
        <Stat label="Difference" value={`${more > 0 ? "+" : ""}${formatNumber(more)}`} />
        <Stat label="Records" value={formatShort(preview.records)} hint={`took ${formatMs(preview.took_ms)}`} />
      </div>
      <Chart
        label={`Alerts an hour: ${preview.alerts_now} now, ${preview.alerts_then} at the new threshold`}
        option={option}
        height={160}
      />
      {preview.sample.length > 0 ? (
        <section>
          <h4 className="font-semibold">Some of the alerts that differ or are the same</h4>
          <AlertSample items={preview.sample} badge={(alert) => <Raised by={alert.raised} factor={factor} />} />
        </section>
      ) : null}
    </div>
  );
}

function Raised({ by, factor }: { by: string | undefined; factor: number }) {
  if (by === "now") return <Badge>only as it is</Badge>;
  return by === "then" ? <Badge tone="accent">only at × {factor.toFixed(2)}</Badge> : <Badge>both</Badge>;
}
