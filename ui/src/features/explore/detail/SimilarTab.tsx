/** Records of the same kind: the same message but for what varies. */
import { useAnswer } from "@/api/query";
import { formatNumber } from "@/lib/format";
import type { TimeRange } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Remote } from "@/ui/States";
import { Sparkline } from "@/viz/Sparkline";
import { spanFor } from "../rows/bins";
import { idOf, type LogRow, rowsOf } from "../rows/record";
import { trendOf } from "../views/trend";
import { MiniList } from "./MiniList";

const SHOWN = 50;
const BUCKETS = 60;

export function SimilarTab({
  row,
  template,
  span,
  onAsk,
}: {
  row: LogRow;
  template: number;
  span: TimeRange;
  onAsk: (query: string) => void;
}) {
  const line = `template_id:${template}`;
  const [from, to] = [Date.parse(span.from), Date.parse(span.to)];
  const bucket = spanFor(from, to, BUCKETS);
  const latest = useAnswer({ query: line, ...span, limit: SHOWN });
  const counts = useAnswer({ query: `${line} | timechart ${bucket.span} count()`, ...span });
  const trend = counts.data ? trendOf(counts.data, bucket.ms, from, to) : null;
  const total = trend?.reduce((sum, count) => sum + count, 0);
  return (
    <div className="h-full overflow-auto">
      <div className="flex items-center gap-3 px-3 py-1.5 text-xs text-muted">
        <span className="tnum">
          {total === undefined ? "…" : `${formatNumber(total)} records of this kind in this time`}
        </span>
        {trend ? <Sparkline values={trend} label="How many by time" width={120} /> : null}
        <Button size="sm" className="ml-auto" onClick={() => onAsk(line)}>
          Search for these
        </Button>
      </div>
      <Remote of={latest}>
        {(data) => (
          <MiniList
            label="Latest records of this kind"
            rows={rowsOf(data.columns, data.rows)}
            self={idOf(row)}
            onAsk={onAsk}
          />
        )}
      </Remote>
    </div>
  );
}
