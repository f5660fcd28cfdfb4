import { useQuery } from "@tanstack/react-query";
import { CalendarClock } from "lucide-react";
import { useState } from "react";
import { formatAgo, formatTime, useZone, zoneName } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Card } from "@/ui/Card";
import { Field, Input } from "@/ui/Field";
import { Empty, Remote } from "@/ui/States";
import { localTime } from "../alerts/duration";
import { getOnCall } from "./api";

/** Who is on call, now or then. */
export function OnCall() {
  const zone = useZone((state) => state.zone);
  const [at, setAt] = useState("");
  const time = localTime(at) ?? undefined;
  const query = useQuery({
    queryKey: ["oncall", time],
    queryFn: ({ signal }) => getOnCall(time, signal),
    refetchInterval: 60_000,
  });
  return (
    <div className="flex flex-col gap-3 p-4">
      <div className="flex flex-wrap items-end gap-2">
        <Field label={`At (${zoneName("local")})`} hint="Empty: now.">
          {(ids) => <Input {...ids} type="datetime-local" value={at} onChange={(event) => setAt(event.target.value)} />}
        </Field>
        {at ? (
          <Button className="mb-5.5" onClick={() => setAt("")}>
            Now
          </Button>
        ) : null}
      </div>
      <Remote
        of={query}
        empty={{
          when: (items) => items.length === 0,
          show: (
            <Empty icon={CalendarClock} title="There are no schedules">
              Rotations are written under <code className="font-mono">schedules</code> of the routing file.
            </Empty>
          ),
        }}
      >
        {(items) => (
          <ul className="grid gap-3 sm:grid-cols-2 lg:grid-cols-4">
            {items.map((each) => (
              <li key={each.schedule}>
                <Card title={each.schedule}>
                  <p className={each.person ? "text-lg font-semibold" : "text-lg text-warning"}>
                    {each.person ?? "nobody: a gap"}
                  </p>
                  {each.until ? (
                    <p className="text-xs text-muted">
                      until {formatTime(each.until, zone, "minute")} ({formatAgo(each.until)})
                    </p>
                  ) : null}
                </Card>
              </li>
            ))}
          </ul>
        )}
      </Remote>
    </div>
  );
}
