/** Heimdall watches itself: golden signals against their targets, objectives and how fast their budgets are spent, the road
 * of a record from the journal to the store. */
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
  const look = self.data ? standingLook(self.data.state) : null;
  return (
    <div className="flex flex-col">
      <PageHeader title="System status" hint={look ? <Badge tone={look.tone}>{look.text}</Badge> : null} />
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
