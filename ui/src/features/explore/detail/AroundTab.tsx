/** The lines before and after a record, of the same service, instance and host. */
import { useState } from "react";
import { useAnswer } from "@/api/query";
import { Button } from "@/ui/Button";
import { Partial, Remote } from "@/ui/States";
import { idOf, type LogRow, rowsOf } from "../rows/record";
import { MiniList } from "./MiniList";
import { around } from "./RecordPanel";

const STEPS = [20, 100, 400] as const;

export function AroundTab({ row, onAsk }: { row: LogRow; onAsk: (query: string) => void }) {
  const [step, setStep] = useState(0);
  const lines = STEPS[step] ?? STEPS[0];
  const id = idOf(row);
  const query = `id:${id} | context ${lines} | sort timestamp`;
  const answer = useAnswer({ query, ...around(row, 24), limit: 2 * lines + 1 });
  return (
    <div className="h-full overflow-auto">
      <p className="px-3 py-1.5 text-xs text-muted">
        {lines} records before and after it, of the same service, instance and host.
      </p>
      <Remote of={answer}>
        {(data) => (
          <>
            <Partial warnings={data.stats.warnings ?? []} />
            <MiniList
              label="Records around"
              rows={rowsOf(data.columns, data.rows)}
              self={id}
              onAsk={onAsk}
              showService={false}
            />
          </>
        )}
      </Remote>
      <div className="flex gap-2 p-3">
        {step < STEPS.length - 1 ? (
          <Button size="sm" onClick={() => setStep(step + 1)} busy={answer.isFetching}>
            {STEPS[step + 1]} on each side
          </Button>
        ) : null}
        <Button size="sm" onClick={() => onAsk(query)}>
          Open as a search
        </Button>
      </div>
    </div>
  );
}
