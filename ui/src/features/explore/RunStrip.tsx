/** What is known of the run: how far it is, what it cost, what it would cost, how a question was understood. */
import { Gauge, PencilLine, Sparkles } from "lucide-react";
import { formatBytes, formatMs, formatNumber, formatShare, formatShort } from "@/lib/format";
import { formatTime, useZone } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Spinner } from "@/ui/States";
import type { Run } from "./run/useRun";

/** Progress while it runs, figures afterwards, in one line. */
export function RunFigures({ run }: { run: Run }) {
  const { progress, stats } = run;
  if (run.phase === "costing") return <Line busy>Looking at what it costs…</Line>;
  if (run.phase === "running") {
    return (
      <Line busy>
        {progress
          ? `${formatShare(progress.share)} · ${formatShort(progress.rows_done)} of ${formatShort(progress.rows_total)} rows read · ${formatShort(progress.rows_matched)} found`
          : "Running…"}
      </Line>
    );
  }
  if (run.phase === "cancelled") return <Line>Cancelled: this is what had been found.</Line>;
  if (run.phase !== "done" || !stats) return null;
  const figures = [
    run.tookMs === null ? null : formatMs(run.tookMs),
    run.answer ? `${formatNumber(run.answer.rows.length)} rows` : null,
    stats.rows_scanned ? `${formatShort(stats.rows_scanned)} rows read` : null,
    stats.bytes_read ? formatBytes(stats.bytes_read) : null,
    stats.strategy,
    stats.cache === "hit" ? "kept answer" : null,
  ].filter(Boolean);
  return <Line title={stats.notes?.join(" · ")}>{figures.join(" · ")}</Line>;
}

function Line({ children, busy, title }: { children: React.ReactNode; busy?: boolean; title?: string }) {
  return (
    <span role="status" title={title} className="tnum flex min-w-0 items-center gap-1.5 truncate text-xs text-muted">
      {busy ? <Spinner /> : null}
      <span className="truncate">{children}</span>
    </span>
  );
}

/** A bar as wide as the share that is done. */
export function ProgressBar({ run }: { run: Run }) {
  const isBusy = run.phase === "running" || run.phase === "costing";
  const share = run.progress?.share ?? null;
  return (
    <div
      className="h-0.5 shrink-0 overflow-hidden bg-transparent"
      {...(isBusy
        ? {
            role: "progressbar",
            "aria-label": "Progress of the search",
            "aria-valuemin": 0,
            "aria-valuemax": 100,
            ...(share === null ? {} : { "aria-valuenow": Math.round(share * 100) }),
          }
        : {})}
    >
      {isBusy ? (
        <div
          className={share === null ? "h-full w-1/3 animate-pulse bg-accent" : "h-full bg-accent transition-[width]"}
          style={share === null ? undefined : { width: `${Math.max(2, share * 100)}%` }}
        />
      ) : null}
    </div>
  );
}

/** Before a heavy scan: what it would read, and a way to go on. */
export function CostStrip({
  run,
  onRun,
  onNarrow,
}: {
  run: Run;
  onRun: () => void;
  onNarrow: (from: string, to: string) => void;
}) {
  if (run.phase !== "held" || !run.cost) return null;
  const { rows, bytes, ms } = run.cost;
  return (
    <div
      role="alert"
      className="flex flex-wrap items-center gap-x-3 gap-y-1.5 border-y border-line bg-warning-soft px-4 py-2 text-sm"
    >
      <Gauge size={16} aria-hidden className="text-warning" />
      <span className="tnum">
        This would read about <strong>{formatShort(rows)} rows</strong>, <strong>{formatBytes(bytes)}</strong>, in about{" "}
        <strong>{formatMs(ms)}</strong>.
      </span>
      <span className="text-muted">A shorter time or a condition on service or level makes it cheap.</span>
      <span className="ml-auto flex gap-1.5">
        <Button size="sm" onClick={() => onNarrow("now-1h", "now")}>
          Last hour instead
        </Button>
        <Button size="sm" kind="primary" onClick={onRun}>
          Run anyway
        </Button>
      </span>
    </div>
  );
}

/** The search line a question in words was understood as. */
export function CompiledStrip({ run, onEdit }: { run: Run; onEdit: () => void }) {
  const zone = useZone((state) => state.zone);
  if (run.language !== "ask" || !run.compiled) return null;
  const { compiled } = run;
  return (
    <section
      aria-label="How the question was understood"
      className="flex flex-wrap items-center gap-x-3 gap-y-1 rounded-md border border-line bg-surface px-2.5 py-1.5 text-xs"
    >
      <Sparkles size={14} aria-hidden className="text-accent" />
      <span className="text-muted">Understood as</span>
      <code className="min-w-0 font-mono break-all text-fg">{compiled.query || "*"}</code>
      <span className="tnum text-muted">
        {formatTime(run.from, zone, "minute")} – {formatTime(run.to, zone, "minute")}
      </span>
      <Button size="sm" icon={PencilLine} className="ml-auto" onClick={onEdit}>
        Edit as search
      </Button>
      {compiled.because && compiled.because.length > 0 ? (
        <ul className="flex basis-full flex-wrap gap-x-4 text-muted">
          {compiled.because.map((part) => (
            <li key={`${part.kind}${part.words}`}>
              “{part.words}” → <code className="font-mono">{part.means}</code>
            </li>
          ))}
        </ul>
      ) : null}
    </section>
  );
}
