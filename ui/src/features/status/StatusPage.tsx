/** Heimdall watches itself: golden signals against their targets, objectives and how fast their budgets are spent, the road
 * of a record from the journal to the store. */
import { RefreshCw } from "lucide-react";
import { useShortcuts } from "@/lib/keys";
import { formatTime, useZone } from "@/lib/time";
import { IconButton } from "@/ui/Button";
import { PageHeader } from "@/ui/Card";
import { Badge } from "@/ui/Severity";
import { Remote, Skeleton } from "@/ui/States";
import { standingLook, useSelfStatus } from "./api";
import { Charts } from "./Charts";
import { Road } from "./Road";
import { Signals } from "./Signals";
import { Slos } from "./Slos";

export function StatusPage() {
  const self = useSelfStatus();
  const again = (): void => void self.refetch();
  useShortcuts({ r: again });
  const zone = useZone((state) => state.zone);
  const look = self.data ? standingLook(self.data.state) : null;
  return (
    <div className="flex flex-col">
      <PageHeader
        title="System status"
        hint={look ? <Badge tone={look.tone}>{look.text}</Badge> : null}
        actions={
          <>
            {self.data ? (
              <span className="tnum text-xs text-muted">as of {formatTime(self.data.time, zone, "clock")}</span>
            ) : null}
            <IconButton icon={RefreshCw} label="Look again" keys="r" onClick={again} />
          </>
        }
      />
      <div className="flex flex-col gap-3 px-4 pb-6">
        <Remote of={self} loading={<Skeleton rows={8} />}>
          {(status) => (
            <>
              <Signals status={status} />
              <Slos slos={status.slos} />
              <Charts history={status.history} />
            </>
          )}
        </Remote>
        <Road />
      </div>
    </div>
  );
}
