import { useState } from "react";
import { cx } from "@/lib/cx";
import { Card } from "@/ui/Card";
import type { AlertDetail } from "../model";

const KEPT_MAX = 200;
const PLACE = "heimdall.mitigation";

/** What to do now, to tick off. Ticks are the reader's own notes: they are kept in this browser and told nobody. */
export function Mitigation({ alert }: { alert: AlertDetail }) {
  const [done, setDone] = useState<ReadonlySet<number>>(() => new Set(read()[alert.id] ?? []));
  if (alert.mitigation.length === 0) return null;
  const toggle = (step: number): void => {
    const next = new Set(done);
    if (!next.delete(step)) next.add(step);
    setDone(next);
    write(alert.id, [...next]);
  };
  return (
    <Card title="What to do" hint={`${done.size} of ${alert.mitigation.length} done`}>
      <ol className="flex flex-col gap-1.5">
        {alert.mitigation.map((text, step) => (
          <li key={text}>
            <label className="flex cursor-pointer items-start gap-2.5 text-sm">
              <input
                type="checkbox"
                checked={done.has(step)}
                onChange={() => toggle(step)}
                className="mt-0.5 size-4 shrink-0 accent-(--accent)"
              />
              <span className={cx(done.has(step) && "text-muted line-through")}>{text}</span>
            </label>
          </li>
        ))}
      </ol>
    </Card>
  );
}

function read(): Record<string, number[]> {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(PLACE) ?? "{}");
    return typeof kept === "object" && kept !== null ? (kept as Record<string, number[]>) : {};
  } catch {
    return {};
  }
}

function write(id: string, steps: number[]): void {
  const { [id]: _, ...others } = read();
  const entries = Object.entries(others).slice(-(KEPT_MAX - 1));
  localStorage.setItem(
    PLACE,
    JSON.stringify(Object.fromEntries(steps.length > 0 ? [...entries, [id, steps]] : entries)),
  );
}
