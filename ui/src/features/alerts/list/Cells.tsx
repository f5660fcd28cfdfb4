/** Cells of the list of alerts. Plain elements: rows are made by the dozen while the reader scrolls. */
import { Link } from "@tanstack/react-router";
import { BellOff, UserRound, VolumeX } from "lucide-react";
import { memo } from "react";
import { cx } from "@/lib/cx";
import { formatNumber, formatShort } from "@/lib/format";
import { formatAgo, formatTime, useZone } from "@/lib/time";
import { lookOf, SeverityBadge, Sign } from "@/ui/Severity";
import type { AlertRow } from "../model";
import { leads, STEPS, type Step } from "../steps";

export function Check({
  checked,
  mixed,
  label,
  onToggle,
}: {
  checked: boolean;
  mixed?: boolean;
  label: string;
  onToggle: (extend: boolean) => void;
}) {
  return (
    <input
      type="checkbox"
      aria-label={label}
      checked={checked}
      ref={(box) => {
        if (box) box.indeterminate = Boolean(mixed);
      }}
      onChange={() => {}}
      onClick={(event) => onToggle(event.shiftKey)}
      className="block size-4 cursor-pointer accent-(--accent)"
    />
  );
}

/** What the alert is about, where that is not the service: an address, a user, a host. */
function Entity({ row }: { row: AlertRow }) {
  if (row.entity.kind === "service" || row.title.includes(row.entity.value)) return null;
  return (
    <span className="ml-2 font-mono text-xs whitespace-nowrap" title={`${row.entity.kind}: ${row.entity.value}`}>
      {row.entity.value}
    </span>
  );
}

export const TitleCell = memo(function TitleCell({ row, narrow }: { row: AlertRow; narrow: boolean }) {
  const link = (
    <Link
      to="/alerts/$id"
      params={{ id: row.id }}
      preload={false}
      className={cx("font-medium hover:underline", narrow && "truncate")}
      title={row.title}
    >
      {row.title}
    </Link>
  );
  if (!narrow)
    return (
      <span className="block truncate">
        {row.muted ? <MutedSign row={row} /> : null}
        {link}
        <Entity row={row} />
        <span className="ml-2 text-muted" title={row.summary}>
          {row.summary === row.title ? row.rule : row.summary}
        </span>
      </span>
    );
  return (
    <span className="flex min-w-0 flex-col gap-0.5 py-1">
      <span className="flex min-w-0 items-center gap-1.5">
        <Sign of={row.severity} />
        {row.muted ? <MutedSign row={row} /> : null}
        {link}
        <Entity row={row} />
        <span className="ml-auto shrink-0 text-xs text-muted">
          <Ago time={row.last_seen} />
        </span>
      </span>
      <span className="truncate text-xs text-muted">{row.summary}</span>
      <span className="flex min-w-0 items-center gap-1.5 text-xs text-muted">
        <span className={cx("shrink-0", lookOf(row.status).text)}>{row.status.toLowerCase()}</span>
        <span>{row.priority}</span>
        <span className="truncate">{row.service ?? row.entity.value}</span>
        {row.count > 1 ? <span className="tnum shrink-0">×{formatShort(row.count)}</span> : null}
      </span>
    </span>
  );
});

function MutedSign({ row }: { row: AlertRow }) {
  return (
    <span title={`Kept quiet: ${row.muted?.reason ?? ""}`} className="mr-1 inline-block align-[-2px] text-faint">
      <VolumeX size={13} role="img" aria-label={`kept quiet: ${row.muted?.kind ?? ""}`} />
    </span>
  );
}

export const StatusCell = memo(function StatusCell({ row }: { row: AlertRow }) {
  const zone = useZone((state) => state.zone);
  return (
    <span className="flex items-center gap-1.5">
      <SeverityBadge of={row.status} soft={false} />
      {row.suppressed_until && row.status === "SUPPRESSED" ? (
        <span className="truncate text-xs text-faint" title={`Open again at ${formatTime(row.suppressed_until, zone)}`}>
          {formatAgo(row.suppressed_until)}
        </span>
      ) : null}
    </span>
  );
});

export function Ago({ time }: { time: string }) {
  const zone = useZone((state) => state.zone);
  return (
    <time dateTime={time} title={formatTime(time, zone)} className="tnum">
      {formatAgo(time)}
    </time>
  );
}

export function CountCell({ count }: { count: number }) {
  return <span title={`${formatNumber(count)} findings`}>{formatShort(count)}</span>;
}

export function Assignee({ name }: { name: string | null }) {
  return name ? (
    <span className="flex items-center gap-1 truncate" title={name}>
      <UserRound size={13} aria-hidden className="shrink-0 text-faint" />
      {name}
    </span>
  ) : (
    <span className="text-faint">nobody</span>
  );
}

const ROW_STEPS: readonly Step[] = ["acknowledge", "suppress", "resolve", "reopen"];

/** What can be done with a row: the steps there are from where it is. */
export const RowSteps = memo(function RowSteps({
  row,
  disabled,
  onStep,
}: {
  row: AlertRow;
  /** Why not, where the reader may not. */
  disabled: string | null;
  onStep: (row: AlertRow, step: Step) => void;
}) {
  return (
    <span className="flex items-center justify-end gap-0.5">
      {ROW_STEPS.filter((step) => leads(step, row.status)).map((step) => {
        const Icon = step === "suppress" ? BellOff : STEPS[step].icon;
        return (
          <button
            key={step}
            type="button"
            aria-label={`${STEPS[step].label} ${row.title}`}
            title={disabled ?? `${STEPS[step].label} (${STEPS[step].keys})`}
            disabled={disabled !== null}
            onClick={() => onStep(row, step)}
            className="flex size-7 items-center justify-center rounded text-muted hover:bg-selected hover:text-fg disabled:cursor-not-allowed disabled:opacity-40"
          >
            <Icon size={14} aria-hidden />
          </button>
        );
      })}
    </span>
  );
});
