import { CircuitBoard } from "lucide-react";
import { useCan } from "@/app/whoami";
import { formatTime, useZone } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Badge } from "@/ui/Severity";
import { Empty, Remote } from "@/ui/States";
import { useBreakers, useSetBreaker } from "./api";

/** Circuit breakers that are not closed. Services ask for them; see the guide to actions. */
export function Breakers() {
  const breakers = useBreakers();
  const set = useSetBreaker();
  const can = useCan("admin");
  const zone = useZone((state) => state.zone);
  return (
    <div className="p-3">
      <Remote
        of={breakers}
        empty={{
          when: (page) => page.items.length === 0,
          show: (
            <Empty icon={CircuitBoard} title="Every breaker is closed">
              A playbook opens one to keep traffic from a service that is drowning; services ask{" "}
              <code className="font-mono">GET /api/v1/breakers/NAME</code>.
            </Empty>
          ),
        }}
      >
        {(page) => (
          <ul className="flex flex-col gap-2">
            {page.items.map((breaker) => (
              <li
                key={breaker.name}
                className="flex flex-wrap items-center gap-3 rounded-lg border border-line bg-surface p-3"
              >
                <span className="font-medium">{breaker.name}</span>
                <Badge tone={breaker.state === "open" ? "critical" : "warning"}>
                  {breaker.state.replace("_", " ")}
                </Badge>
                <span className="text-sm text-muted">
                  {breaker.since ? `since ${formatTime(breaker.since, zone, "second")}` : ""}{" "}
                  {breaker.until ? `until ${formatTime(breaker.until, zone, "second")}` : ""} {breaker.reason}
                </span>
                <Button
                  className="ml-auto"
                  disabled={!can}
                  title={can ? undefined : "Needs the scope admin"}
                  busy={set.isPending}
                  onClick={() => set.mutate({ name: breaker.name, state: "closed" })}
                >
                  Close it
                </Button>
              </li>
            ))}
          </ul>
        )}
      </Remote>
    </div>
  );
}
