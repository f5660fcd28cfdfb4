/** The spans of a trace as bars in time, indented below their parents. */
import { useQuery } from "@tanstack/react-query";
import { client, type Schemas, unwrap } from "@/api/client";
import { cx } from "@/lib/cx";
import { formatMs, formatNumber } from "@/lib/format";
import { Partial } from "@/ui/States";
import { depthsOf } from "./template";

type Span = Schemas["TraceSpan"];

const SPANS_SHOWN = 500;
const INDENT_PX = 10;
const DEPTH_SHOWN = 12;

/** A trace by its id; null when there are no spans of it. */
function useTrace(id: string) {
  return useQuery({
    queryKey: ["trace", id],
    queryFn: ({ signal }) => unwrap(client.GET("/api/v1/traces/{id}", { params: { path: { id } }, signal })),
    retry: false,
    staleTime: 30_000,
  });
}

export function Waterfall({ trace }: { trace: string }) {
  const { data } = useTrace(trace);
  if (!data || data.spans.length === 0) return null;
  const spans = data.spans.slice(0, SPANS_SHOWN);
  const begin = Math.min(...spans.map(startOf));
  const end = Math.max(...spans.map((span) => startOf(span) + (span.duration_ms ?? 0)));
  const depths = depthsOf(spans.map((span) => ({ span: span.span_id ?? "", parent: span.parent_span_id ?? "" })));
  return (
    <section aria-label="Spans" className="border-b border-line pb-2">
      <Partial warnings={data.warnings} />
      <p className="tnum px-3 py-1.5 text-xs text-muted">
        {formatNumber(data.spans.length)} spans of {data.services.length} services in {formatMs(data.duration_ms ?? 0)}
        {data.spans.length > spans.length ? `, the first ${formatNumber(spans.length)} are shown` : ""}
      </p>
      <ul>
        {spans.map((span, index) => (
          <Bar
            key={span.id}
            span={span}
            depth={Math.min(DEPTH_SHOWN, depths[index] ?? 0)}
            left={(startOf(span) - begin) / Math.max(end - begin, 0.001)}
            width={(span.duration_ms ?? 0) / Math.max(end - begin, 0.001)}
          />
        ))}
      </ul>
    </section>
  );
}

function Bar({ span, depth, left, width }: { span: Span; depth: number; left: number; width: number }) {
  const failed = span.status === "error";
  const name = `${span.service ?? "?"}: ${span.name ?? ""}`;
  return (
    <li
      title={`${name} (${span.kind ?? "internal"})${span.status_message ? `: ${span.status_message}` : ""}`}
      className="grid grid-cols-[minmax(8rem,40%)_1fr_4.5rem] items-center gap-2 px-3 py-0.5 text-xs"
    >
      <span className="truncate" style={{ paddingLeft: depth * INDENT_PX }}>
        <span className="text-muted">{span.service}</span> {span.name}
        {failed ? <span className="text-critical"> failed</span> : null}
      </span>
      <span aria-hidden className="relative h-2.5 rounded-sm bg-hover">
        <span
          className={cx("absolute inset-y-0 min-w-0.5 rounded-sm", failed ? "bg-critical" : "bg-accent")}
          style={{ left: `${left * 100}%`, width: `${Math.min(width, 1 - left) * 100}%` }}
        />
      </span>
      <span className="tnum text-right text-muted">{formatMs(span.duration_ms ?? 0)}</span>
    </li>
  );
}

function startOf(span: Span): number {
  return Date.parse(span.timestamp);
}
