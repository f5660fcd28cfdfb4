/** The spans of a trace, and all its records in the order of time, indented by span. */
import { useAnswer } from "@/api/query";
import { formatMs, formatNumber } from "@/lib/format";
import { Button } from "@/ui/Button";
import { Empty, Partial, Remote } from "@/ui/States";
import { fieldOf, idOf, type LogRow, msOf, rowsOf, text } from "../rows/record";
import { MiniList } from "./MiniList";
import { around } from "./RecordPanel";
import { depthsOf } from "./template";
import { Waterfall } from "./Waterfall";

const RECORDS_MAX = 500;
const INDENT_PX = 14;
const DEPTH_SHOWN = 10;

export function TraceTab({ row, trace, onAsk }: { row: LogRow; trace: string; onAsk: (query: string) => void }) {
  const answer = useAnswer({
    query: `trace_id:${trace} | sort timestamp`,
    ...around(row, 2),
    limit: RECORDS_MAX,
  });
  return (
    <div className="h-full overflow-auto">
      <Waterfall trace={trace} />
      <Remote
        of={answer}
        empty={{ when: (data) => data.rows.length === 0, show: <Empty title="No record of this trace near it" /> }}
      >
        {(data) => {
          const rows = rowsOf(data.columns, data.rows);
          const depths = depthsOf(
            rows.map((one) => ({ span: text(fieldOf(one, "span_id")), parent: text(fieldOf(one, "parent_span_id")) })),
          );
          const start = rows[0] ? msOf(rows[0]) : 0;
          const end = rows.at(-1);
          const services = new Set(rows.map((one) => text(fieldOf(one, "service"))));
          return (
            <>
              <Partial warnings={data.stats.warnings ?? []} />
              <p className="tnum px-3 py-1.5 text-xs text-muted">
                {formatNumber(rows.length)} records of {services.size} services in{" "}
                {formatMs(end ? msOf(end) - start : 0)}
              </p>
              <MiniList
                label="Records of the trace"
                rows={rows}
                self={idOf(row)}
                onAsk={onAsk}
                indent={(index) => Math.min(DEPTH_SHOWN, depths[index] ?? 0) * INDENT_PX}
                lead={(one) => `+${formatMs(msOf(one) - start)}`}
              />
            </>
          );
        }}
      </Remote>
      <div className="p-3">
        <Button size="sm" onClick={() => onAsk(`trace_id:${trace} | sort timestamp`)}>
          Open as a search
        </Button>
      </div>
    </div>
  );
}
