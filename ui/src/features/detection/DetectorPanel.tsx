import { useMutation } from "@tanstack/react-query";
import { FlaskConical } from "lucide-react";
import { Slider } from "radix-ui";
import { useEffect, useMemo, useRef, useState } from "react";
import { asApiError } from "@/api/problem";
import { TimePicker } from "@/app/TimePicker";
import { useRange } from "@/app/url";
import { useCan } from "@/app/whoami";
import { formatNumber } from "@/lib/format";
import { Button } from "@/ui/Button";
import { Stat } from "@/ui/Card";
import { Dialog } from "@/ui/Dialog";
import { Switch } from "@/ui/Field";
import { axisBase, Chart } from "@/viz/Chart";
import { token } from "@/viz/palette";
import { type Detector, type Preview, precisionText, previewDetector, useTune } from "./api";
import { SampleList } from "./SampleList";

const FACTOR = { min: 0.25, max: 4 };

/** The slider is even by ratio: half and double lie equally far from one. */
export function factorOf(position: number): number {
  return Math.round(2 ** position * 100) / 100;
}

/** One detector: switches, the slider with what it would have changed, feedback by rule. */
export function DetectorPanel({ detector, onClose }: { detector: Detector; onClose: () => void }) {
  const can = useCan("admin");
  const tune = useTune();
  const { range } = useRange();
  const kept = detector.threshold_factor ?? 1;
  const [position, setPosition] = useState(Math.log2(kept));
  const factor = factorOf(position);
  const abort = useRef<AbortController | null>(null);
  const preview = useMutation({
    mutationFn: () => {
      abort.current?.abort();
      abort.current = new AbortController();
      return previewDetector(
        detector.name,
        { threshold_factor: factor, from: range.from, to: range.to },
        abort.current.signal,
      );
    },
  });
  useEffect(() => () => abort.current?.abort(), []);
  const changed = Math.abs(factor - kept) > 0.005;
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
        <section className="flex flex-col gap-2.5">
          <Line label="Runs" hint="Off: it judges nothing and learns nothing.">
            <Switch
              label="Runs"
              checked={detector.enabled}
              disabled={!can || tune.isPending}
              onChange={(enabled) => tune.mutate({ name: detector.name, enabled })}
            />
          </Line>
          <Line label="Dry run" hint="It goes on judging and counting, and raises nothing.">
            <Switch
              label="Dry run"
              checked={detector.dry_run ?? false}
              disabled={!can || tune.isPending}
              onChange={(dry_run) => tune.mutate({ name: detector.name, dry_run })}
            />
          </Line>
        </section>
        <section className="flex flex-col gap-3">
          <div className="flex flex-wrap items-center gap-2">
            <h3 className="font-semibold">Threshold</h3>
            <span className="text-muted">
              × {factor.toFixed(2)} by hand
              {detector.adjustment !== 1 ? `, × ${detector.adjustment.toFixed(2)} from feedback` : ""}
            </span>
          </div>
          <Slider.Root
            min={Math.log2(FACTOR.min)}
            max={Math.log2(FACTOR.max)}
            step={0.05}
            value={[position]}
            onValueChange={([next]) => setPosition(next ?? 0)}
            className="relative flex h-5 w-full touch-none items-center select-none"
          >
            <Slider.Track className="relative h-1.5 flex-1 rounded-full bg-hover">
              <Slider.Range className="absolute h-full rounded-full bg-accent" />
            </Slider.Track>
            <Slider.Thumb
              aria-label="Threshold factor"
              aria-valuetext={`times ${factor.toFixed(2)}`}
              className="block size-4 rounded-full border-2 border-accent bg-surface shadow"
            />
          </Slider.Root>
          <div className="flex justify-between text-xs text-faint">
            <span>more sensitive</span>
            <span>as configured</span>
            <span>less sensitive</span>
          </div>
          <div className="flex flex-wrap items-center gap-2">
            <TimePicker />
            <Button icon={FlaskConical} busy={preview.isPending} onClick={() => preview.mutate()}>
              Try it on what happened
            </Button>
            <Button
              kind="primary"
              disabled={!can || !changed}
              title={can ? (preview.data ? undefined : "Try it first: it costs nothing") : "Needs the scope admin"}
              busy={tune.isPending}
              onClick={() => tune.mutate({ name: detector.name, threshold_factor: factor })}
            >
              Set × {factor.toFixed(2)}
            </Button>
          </div>
          {preview.isError ? (
            <p role="alert" className="text-critical">
              {asApiError(preview.error).detail}
            </p>
          ) : null}
          {preview.data ? <Difference preview={preview.data} factor={factor} /> : null}
        </section>
        {detector.rules.length > 0 ? (
          <section>
            <h3 className="mb-1.5 font-semibold">What people said, by rule</h3>
            <ul className="flex flex-col gap-1">
              {detector.rules.map((rule) => (
                <li key={rule.rule} className="flex gap-3">
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
          name: "now",
          type: "bar",
          data: preview.per_hour.map((hour) => [hour.at, hour.now]),
          itemStyle: { color: token("--faint") },
        },
        {
          name: `× ${factor.toFixed(2)}`,
          type: "bar",
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
      <div className="grid grid-cols-3 gap-4">
        <Stat label="Alerts now" value={formatNumber(preview.alerts_now)} />
        <Stat label={`Alerts at × ${factor.toFixed(2)}`} value={formatNumber(preview.alerts_then)} />
        <Stat label="Difference" value={`${more > 0 ? "+" : ""}${formatNumber(more)}`} />
      </div>
      <Chart
        label={`Alerts an hour: ${preview.alerts_now} now, ${preview.alerts_then} at the new threshold`}
        option={option}
        height={160}
      />
      <SampleList items={preview.sample} />
    </div>
  );
}
