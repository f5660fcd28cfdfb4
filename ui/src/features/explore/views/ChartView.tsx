/** The answer as a picture: of an aggregating query by itself, of records by what is chosen to be computed. */

import { useQuery } from "@tanstack/react-query";
import { PencilLine } from "lucide-react";
import { useState } from "react";
import { client, unwrap } from "@/api/client";
import type { Cell } from "@/api/query";
import { type Answer, useAnswer } from "@/api/query";
import { type TimeRange, toRfc3339 } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Segmented, Select } from "@/ui/Field";
import { Empty, Remote, Skeleton } from "@/ui/States";
import { Visualisation, type VizKind } from "@/viz/Visualisation";
import { RunFailed } from "../RunFailed";
import { spanFor } from "../rows/bins";
import type { Run } from "../run/useRun";
import { type Builder, builtLine, FUNCTIONS, KINDS, kindFor, PLAIN } from "./chart";

interface Props {
  run: Run;
  span: TimeRange;
  viz: string | undefined;
  onViz: (viz: string | undefined) => void;
  onRange: (range: TimeRange) => void;
  onFilter: (field: string, value: Cell, exclude: boolean) => void;
  onAsk: (query: string) => void;
  onRetry: () => void;
}

const NAMES: Record<string, string> = {
  table: "Table",
  line: "Line",
  area: "Area",
  bar: "Bars",
  top: "Top list",
  heatmap: "Heatmap",
  number: "Number",
};
const BUCKETS = 100;

export function ChartView(props: Props) {
  const { run, onRetry } = props;
  if (run.phase === "failed") return <RunFailed error={run.error} onRetry={onRetry} onAsk={props.onAsk} />;
  if (run.phase === "held") return <Empty title="Not run yet">See above what it would read.</Empty>;
  if (run.shape === "table") {
    if (!run.answer) return <Skeleton rows={10} className="flex-1" />;
    return <Picture answer={run.answer} {...props} />;
  }
  return <Built {...props} />;
}

function Picture({ answer, run, viz, onViz, onRange, onFilter }: Props & { answer: Answer }) {
  const kind = KINDS.find((one) => one === viz) ?? kindFor(answer);
  if (answer.rows.length === 0)
    return (
      <Empty title="The answer has no rows" className="flex-1">
        Nothing fits in this time; a wider one may hold something.
      </Empty>
    );
  return (
    <div className="flex min-h-0 flex-1 flex-col">
      <div className="flex flex-wrap gap-2 px-3 py-1.5">
        <Kinds kind={kind} onViz={onViz} />
      </div>
      <div className="flex min-h-0 flex-1 flex-col px-3 pb-3">
        <Visualisation
          answer={answer}
          spec={{ viz: kind, legend: true }}
          label={`Answer of ${run.line}`}
          height="100%"
          onSelectRange={(from, to) => onRange({ from: toRfc3339(from), to: toRfc3339(to) })}
          onSelectValue={run.language === "sql" ? undefined : (column, value) => onFilter(column, value, false)}
        />
      </div>
    </div>
  );
}

function Kinds({ kind, onViz }: { kind: VizKind; onViz: (viz: string | undefined) => void }) {
  return (
    <Segmented<VizKind>
      label="Picture"
      value={kind}
      onChange={onViz}
      options={KINDS.map((value) => ({ value, label: NAMES[value] ?? value }))}
    />
  );
}

/** A picture of the records found: the reader says what is computed, and sees the line that does. */
function Built(props: Props) {
  const { run, span, viz, onAsk } = props;
  const [builder, setBuilder] = useState<Builder>({ fn: "count", field: "duration_ms", by: "level", shape: "time" });
  const fields = useQuery({
    queryKey: ["fields", "logs", "all"],
    queryFn: ({ signal }) => unwrap(client.GET("/api/v1/fields", { signal })),
    staleTime: 60_000,
  });
  const bucket = spanFor(run.from, run.to, BUCKETS);
  const line = builtLine(run.line, builder, bucket.span);
  const isReady = run.phase === "done" || run.phase === "cancelled" || run.rows !== null;
  const answer = useAnswer(isReady ? { query: line, ...span, limit: 10_000 } : null);
  const names = (fields.data?.items ?? []).filter((field) => field.count > 0 && field.name !== "attributes");
  const options = names.map((field) => ({ value: field.name, label: field.name }));
  const numeric = names
    .filter((field) => field.types?.includes("number"))
    .map((field) => ({ value: field.name, label: field.name }));
  const ofField = builder.fn === "dc" ? options : numeric;
  const change = (changes: Partial<Builder>): void => setBuilder({ ...builder, ...changes });
  return (
    <div className="flex min-h-0 flex-1 flex-col">
      <div className="flex flex-wrap items-center gap-x-2 gap-y-1.5 px-3 pt-1.5 text-xs text-muted">
        <Select
          aria-label="What is computed"
          value={builder.fn}
          onChange={(event) => change({ fn: event.target.value })}
          options={FUNCTIONS.map((value) => ({ value, label: value === "dc" ? "different values" : value }))}
        />
        {PLAIN.has(builder.fn) ? null : (
          <>
            of
            <Select
              aria-label="Of which field"
              value={builder.field}
              onChange={(event) => change({ field: event.target.value })}
              options={ofField}
            />
          </>
        )}
        by
        <Select
          aria-label="By which field"
          value={builder.by}
          onChange={(event) => change({ by: event.target.value })}
          options={[{ value: "", label: "nothing" }, ...options]}
        />
        <Segmented<Builder["shape"]>
          label="Over time or in all"
          value={builder.shape}
          onChange={(shape) => change({ shape })}
          options={[
            { value: "time", label: "over time" },
            { value: "top", label: "in all" },
          ]}
        />
        <Button size="sm" icon={PencilLine} className="ml-auto" onClick={() => onAsk(line)}>
          Edit as search
        </Button>
      </div>
      <p className="truncate px-3 pt-1 font-mono text-2xs text-faint" title={line}>
        {line}
      </p>
      {isReady ? (
        <Remote of={answer} loading={<Skeleton rows={8} className="flex-1" />}>
          {(data) => <Picture {...props} answer={data} viz={viz ?? (builder.shape === "time" ? "bar" : undefined)} />}
        </Remote>
      ) : (
        <Skeleton rows={8} className="flex-1" />
      )}
    </div>
  );
}
