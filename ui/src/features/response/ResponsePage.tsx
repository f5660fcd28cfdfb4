/** Response: what waits for a yes, what was done, what would be done, and the switch that stops all of it. */
import { useState } from "react";
import { useUrl } from "@/app/url";
import { formatNumber } from "@/lib/format";
import { useGridKeys } from "@/lib/gridKeys";
import { PageHeader, Stat } from "@/ui/Card";
import { Badge } from "@/ui/Severity";
import { Remote, Skeleton } from "@/ui/States";
import { Tabs } from "@/ui/Tabs";
import { useResponseStatus } from "./api";
import { Breakers } from "./Breakers";
import { KillSwitch } from "./KillSwitch";
import { Limits } from "./Limits";
import { Playbooks } from "./Playbooks";
import { RunPanel } from "./RunPanel";
import { Runs } from "./Runs";
import { Waiting } from "./Waiting";

export function ResponsePage() {
  const { search, set } = useUrl();
  const status = useResponseStatus();
  const waiting = status.data?.awaiting_approval ?? 0;
  // What the page begins with is decided once: answering the last question does not take the reader elsewhere.
  const [first, setFirst] = useState<string | null>(null);
  if (first === null && status.data) setFirst(waiting > 0 && !search.run ? "waiting" : "runs");
  const tab = search.tab ?? first ?? "runs";
  useGridKeys();
  return (
    <div className="flex min-h-0 flex-1 flex-col">
      <PageHeader
        title="Response"
        hint={status.data ? <Mode enabled={status.data.enabled} mode={status.data.mode} /> : null}
        actions={<KillSwitch />}
      >
        <Remote of={status} loading={<Skeleton rows={1} className="p-0" />}>
          {(data) => (
            <div className="grid grid-cols-2 gap-x-6 gap-y-2 sm:grid-cols-5">
              <Stat
                label="Wait for approval"
                value={formatNumber(data.awaiting_approval)}
                tone={data.awaiting_approval > 0 ? "warning" : undefined}
              />
              <Stat
                label="Under way"
                value={formatNumber(data.runs_live)}
                hint={`${data.actions_waiting} actions queued`}
              />
              <Stat label="Succeeded" value={formatNumber(count(data.runs, "succeeded"))} tone="ok" />
              <Stat
                label="Failed or rolled back"
                value={formatNumber(count(data.runs, "failed") + count(data.runs, "rolled_back"))}
                tone={count(data.runs, "failed") > 0 ? "critical" : undefined}
              />
              <Stat label="Playbooks" value={`${data.playbooks_enabled} of ${data.playbooks}`} hint="enabled" />
            </div>
          )}
        </Remote>
      </PageHeader>
      <Tabs
        label="Response"
        value={tab}
        onChange={(value) => set({ tab: value, run: undefined }, { replace: true })}
        tabs={[
          {
            value: "waiting",
            label: (
              <span className="inline-flex items-center gap-1.5">
                Approvals {waiting > 0 ? <Badge tone="warning">{waiting}</Badge> : null}
              </span>
            ),
            content: <Waiting onOpen={(id) => set({ run: id })} />,
          },
          {
            value: "runs",
            label: "Runs",
            content: <Runs active={search.run ?? null} onOpen={(id) => set({ run: id })} />,
          },
          { value: "playbooks", label: "Playbooks", content: <Playbooks /> },
          { value: "limits", label: "Limits", content: <Limits /> },
          { value: "breakers", label: "Breakers", content: <Breakers /> },
        ]}
      />
      <RunPanel id={search.run ?? null} onClose={() => set({ run: undefined })} />
    </div>
  );
}

function Mode({ enabled, mode }: { enabled: boolean; mode: string }) {
  if (!enabled) return <Badge tone="quiet">off: nothing is planned or done</Badge>;
  const words: Record<string, string> = {
    dry_run: "dry run: it says what it would do",
    approve: "asks before it acts",
    earn: "asks until a playbook has earned trust",
    auto: "acts by itself where a playbook may",
  };
  return <Badge tone={mode === "auto" ? "info" : "accent"}>{words[mode] ?? mode}</Badge>;
}

function count(runs: [string, number][], state: string): number {
  return runs.find(([name]) => name === state)?.[1] ?? 0;
}
