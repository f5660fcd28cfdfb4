import { CalendarClock, ChevronDown, RefreshCw, ZoomOut } from "lucide-react";
import { type FormEvent, useState } from "react";
import { cx } from "@/lib/cx";
import {
  describeRange,
  formatTime,
  QUICK_RANGES,
  resolveRange,
  resolveTime,
  type TimeRange,
  toRfc3339,
  useZone,
  zoneName,
} from "@/lib/time";
import { Button, IconButton } from "@/ui/Button";
import { Field, Input, Select } from "@/ui/Field";
import { Popover } from "@/ui/Menu";
import { useRange } from "./url";

const ZONES = ["local", "UTC", ...Intl.supportedValuesOf("timeZone")];

interface Props {
  onRefresh?: () => void;
}

/** The time range of the page: relative, absolute, in any zone; `onRefresh` asks again for a moving one. */
export function TimePicker({ onRefresh }: Props) {
  const { range, setRange } = useRange();
  const zone = useZone((state) => state.zone);
  const [open, setOpen] = useState(false);
  const widen = (): void => {
    const { from, to } = resolveRange(range);
    const half = (to - from) / 2;
    setRange({ from: toRfc3339(from - half), to: toRfc3339(Math.min(to + half, Date.now())) });
  };
  return (
    <div className="flex items-center gap-1">
      <Popover
        label="Time range"
        open={open}
        onOpenChange={setOpen}
        align="end"
        trigger={
          <Button icon={CalendarClock} aria-label={`Time range: ${describeRange(range, zone)}`}>
            <span className="max-w-72 truncate">{describeRange(range, zone)}</span>
            <ChevronDown size={13} aria-hidden className="text-faint" />
          </Button>
        }
      >
        <Choose
          range={range}
          onChoose={(chosen) => {
            setRange(chosen);
            setOpen(false);
          }}
        />
      </Popover>
      <IconButton icon={ZoomOut} label="Widen the range" onClick={widen} />
      {onRefresh ? <IconButton icon={RefreshCw} label="Look again" keys="r" onClick={onRefresh} /> : null}
    </div>
  );
}

function Choose({ range, onChoose }: { range: TimeRange; onChoose: (range: TimeRange) => void }) {
  const { zone, setZone } = useZone();
  const [from, setFrom] = useState(range.from);
  const [to, setTo] = useState(range.to);
  const [mistake, setMistake] = useState<{ from?: string; to?: string }>({});
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    const now = Date.now();
    const wrong = "not a time: RFC 3339, YYYY-MM-DD HH:MM, or now-2h";
    const [start, end] = [resolveTime(from, now), resolveTime(to, now)];
    if (start === null || end === null) {
      setMistake({ from: start === null ? wrong : undefined, to: end === null ? wrong : undefined });
      return;
    }
    if (start >= end) {
      setMistake({ to: "is not after the start" });
      return;
    }
    const written = (text: string, at: number): string => (/^now/.test(text.trim()) ? text.trim() : toRfc3339(at));
    onChoose({ from: written(from, start), to: written(to, end) });
  };
  return (
    <div className="flex gap-3 max-sm:flex-col">
      <ul className="flex flex-col sm:w-32">
        {QUICK_RANGES.map((entry) => (
          <li key={entry.label}>
            <button
              type="button"
              onClick={() => onChoose(entry.range)}
              className={cx(
                "w-full rounded px-2 py-1 text-left text-sm hover:bg-hover",
                entry.range.from === range.from && entry.range.to === range.to && "bg-selected font-medium",
              )}
            >
              {entry.label}
            </button>
          </li>
        ))}
      </ul>
      <form onSubmit={submit} className="flex flex-col gap-2 sm:w-72">
        <Field label="From" error={mistake.from} hint={formatTime(resolveTime(from, Date.now()), zone)}>
          {(ids) => <Input {...ids} value={from} onChange={(event) => setFrom(event.target.value)} />}
        </Field>
        <Field label="To" error={mistake.to} hint={formatTime(resolveTime(to, Date.now()), zone)}>
          {(ids) => <Input {...ids} value={to} onChange={(event) => setTo(event.target.value)} />}
        </Field>
        <Field label="Time zone" hint="All times are shown in it.">
          {(ids) => (
            <Select
              {...ids}
              className="w-full"
              value={zone}
              onChange={(event) => setZone(event.target.value)}
              options={ZONES.map((value) => ({
                value,
                label: value === "local" ? `This computer's (${zoneName("local")})` : value,
              }))}
            />
          )}
        </Field>
        <Button kind="primary" type="submit">
          Apply
        </Button>
      </form>
    </div>
  );
}
