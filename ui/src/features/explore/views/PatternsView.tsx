/** Kinds of messages: how many records of each there are, exactly; how that moves; what is new and what is rare. */
import { CircleMinus, CirclePlus } from "lucide-react";
import { useMemo, useState } from "react";
import { useAnswer } from "@/api/query";
import { formatNumber, formatShare, formatShort } from "@/lib/format";
import { formatAgo, formatTime, type TimeRange, toRfc3339, useZone } from "@/lib/time";
import { IconButton } from "@/ui/Button";
import { Segmented } from "@/ui/Field";
import { Badge } from "@/ui/Severity";
import { Empty, Partial, Remote, Skeleton } from "@/ui/States";
import { Table, type TableColumn } from "@/ui/Table";
import { Sparkline } from "@/viz/Sparkline";
import { withCondition } from "../line/filters";
import { aboutRecords } from "../line/shape";
import { spanFor } from "../rows/bins";
import type { Run } from "../run/useRun";
import { growthOf, type Pattern, patternsOf } from "./patterns";
import { trendsOf } from "./trend";

const PATTERNS_MAX = 200;
/** Kinds with a trend: their conditions must fit into one line. */
const TRENDS_MAX = 200;
const BUCKETS = 40;
/** A kind is new when it was not seen this long before the time looked at. */
const BEFORE_MS = 7 * 86_400_000;

type Filter = "all" | "new" | "rare" | "growing";

export function PatternsView({ run, span, onAsk }: { run: Run; span: TimeRange; onAsk: (query: string) => void }) {
  const zone = useZone((state) => state.zone);
  const [filter, setFilter] = useState<Filter>("all");
  const [active, setActive] = useState<string | null>(null);
  const isReady = run.phase === "done" || run.phase === "cancelled";
  const { line, from, to } = run;
  const answer = useAnswer(
    isReady ? { query: aboutRecords(line, `patterns ${PATTERNS_MAX}`), ...span, limit: PATTERNS_MAX } : null,
  );
  const patterns = useMemo(() => (answer.data ? patternsOf(answer.data, from, to) : []), [answer.data, from, to]);
  const ids = patterns.slice(0, TRENDS_MAX).map((one) => one.id);
  const bucket = spanFor(from, to, BUCKETS);
  const counts = useAnswer(
    ids.length > 0
      ? {
          query: withCondition(
            aboutRecords(line, `timechart ${bucket.span} count() by template_id`),
            `template_id:(${ids.join(" OR ")})`,
          ),
          ...span,
          limit: PATTERNS_MAX * (BUCKETS + 2),
        }
      : null,
  );
  const trends = useMemo(
    () => (counts.data ? trendsOf(counts.data, "template_id", bucket.ms, from, to) : null),
    [counts.data, bucket.ms, from, to],
  );
  // First seen late in this time and never in the week before it: that is news.
  const late = patterns.filter((one) => one.isNew).map((one) => one.id);
  const before = useAnswer(
    late.length > 0
      ? {
          query: `template_id:(${late.join(" OR ")}) | stats count() by template_id`,
          from: toRfc3339(from - BEFORE_MS),
          to: toRfc3339(from),
        }
      : null,
  );
  const known = useMemo(() => new Set(before.data?.rows.map(([id]) => Number(id))), [before.data]);
  const isNew = (one: Pattern): boolean => one.isNew && before.data !== undefined && !known.has(one.id);
  const growth = (one: Pattern): number | null => growthOf(trends?.get(String(one.id)) ?? []);
  const shown = patterns.filter(
    (one) =>
      filter === "all" ||
      (filter === "new" && isNew(one)) ||
      (filter === "rare" && one.isRare) ||
      (filter === "growing" && (growth(one) ?? 0) > 0.5),
  );
  const only = (one: Pattern, exclude: boolean): void =>
    onAsk(withCondition(line, `${exclude ? "-" : ""}template_id:${one.id}`));
  const columns: TableColumn<Pattern>[] = [
    {
      id: "count",
      header: "Records",
      width: "5.5rem",
      align: "right",
      cell: (one) => <span title={formatNumber(one.count)}>{formatShort(one.count)}</span>,
    },
    {
      id: "share",
      header: "Share",
      width: "5rem",
      align: "right",
      from: "sm",
      cell: (one) => <span className="text-muted">{formatShare(one.share)}</span>,
    },
    {
      id: "trend",
      header: "Trend",
      width: "8rem",
      from: "sm",
      cell: (one) => {
        const trend = trends?.get(String(one.id));
        return trend ? (
          <Sparkline
            values={trend}
            label={`Trend, at most ${formatNumber(Math.max(...trend))} in ${bucket.span}`}
            width={110}
          />
        ) : (
          <span className="text-faint">{counts.isFetching ? "…" : "–"}</span>
        );
      },
    },
    {
      id: "growth",
      header: "Change",
      width: "5rem",
      align: "right",
      from: "md",
      cell: (one) => <Growth value={growth(one)} />,
    },
    {
      id: "template",
      header: "Kind of message",
      width: "minmax(14rem,1fr)",
      cell: (one) => (
        <span className="flex min-w-0 items-center gap-1.5">
          {isNew(one) ? (
            <Badge
              tone="accent"
              title={`First seen ${formatTime(one.firstSeen, zone)}; not in the week before this time`}
            >
              new
            </Badge>
          ) : null}
          {one.isRare ? <Badge title="Less than 0.05 % of the records">rare</Badge> : null}
          <Template text={one.template} />
        </span>
      ),
    },
    {
      id: "seen",
      header: "Last seen",
      width: "6rem",
      from: "lg",
      cell: (one) => (
        <span className="text-muted" title={formatTime(one.lastSeen, zone)}>
          {formatAgo(one.lastSeen)} ago
        </span>
      ),
    },
    {
      id: "services",
      header: "Services",
      width: "5rem",
      align: "right",
      from: "lg",
      cell: (one) => formatNumber(one.services),
    },
    {
      id: "filter",
      header: <span className="sr-only">Filter</span>,
      width: "4.5rem",
      cell: (one) => (
        <span className="flex justify-end">
          <IconButton icon={CirclePlus} label="Only this kind" size="sm" onClick={() => only(one, false)} />
          <IconButton icon={CircleMinus} label="Without this kind" size="sm" onClick={() => only(one, true)} />
        </span>
      ),
    },
  ];
  if (!isReady && patterns.length === 0) return <Skeleton rows={12} />;
  return (
    <Remote
      of={answer}
      empty={{
        when: (data) => data.rows.length === 0,
        show: <Empty title="No record fits, so there are no kinds of messages" className="flex-1" />,
      }}
    >
      {(data) => (
        <div className="flex min-h-0 flex-1 flex-col">
          <Partial warnings={(data.stats.warnings ?? []).filter((text) => !text.includes("rows are shown"))} />
          <div className="flex flex-wrap items-center gap-3 px-3 py-1.5 text-xs text-muted">
            <Segmented<Filter>
              label="Which kinds"
              value={filter}
              onChange={setFilter}
              options={[
                { value: "all", label: `All ${patterns.length}` },
                { value: "new", label: `New ${patterns.filter(isNew).length}` },
                { value: "rare", label: `Rare ${patterns.filter((one) => one.isRare).length}` },
                { value: "growing", label: `Growing ${patterns.filter((one) => (growth(one) ?? 0) > 0.5).length}` },
              ]}
            />
            <span>Counts are exact. Press Enter to see the records of a kind.</span>
          </div>
          <Table
            label="Kinds of messages"
            columns={columns}
            rows={shown}
            keyOf={(one) => String(one.id)}
            active={active}
            onActive={(one) => setActive(String(one.id))}
            onOpen={(one) => only(one, false)}
          />
          {shown.length === 0 ? <Empty title="None of these among the kinds found" className="flex-1" /> : null}
        </div>
      )}
    </Remote>
  );
}

/** A template with its variable parts quiet. */
function Template({ text }: { text: string }) {
  return (
    <span className="truncate font-mono text-xs" title={text}>
      {text.split("<*>").map((part, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: parts of a text do not move
        <span key={index}>
          {index > 0 ? <span className="rounded-sm bg-accent-soft px-0.5 text-accent">*</span> : null}
          {part}
        </span>
      ))}
    </span>
  );
}

function Growth({ value }: { value: number | null }) {
  if (value === null) return <span className="text-faint">–</span>;
  const text =
    value > 9 ? `×${(value + 1).toFixed(0)}` : `${value >= 0 ? "+" : "−"}${Math.abs(value * 100).toFixed(0)} %`;
  return (
    <span
      title="The second half of the time compared with the first"
      className={value > 0.5 ? "text-warning" : "text-muted"}
    >
      {text}
    </span>
  );
}
