import { BookOpen } from "lucide-react";
import { Badge } from "@/ui/Severity";
import { Empty, Remote } from "@/ui/States";
import { type Autonomy, type Playbook, useAutonomy, usePlaybooks } from "./api";

/** The playbooks in force: when they begin, what they do, how far they may go. */
export function Playbooks() {
  const playbooks = usePlaybooks();
  const autonomy = useAutonomy();
  return (
    <div className="p-3">
      <Remote
        of={playbooks}
        empty={{
          when: (page) => page.items.length === 0,
          show: (
            <Empty icon={BookOpen} title="No playbooks">
              Playbooks are YAML files in the folder <code className="font-mono">respond.playbooks_dir</code> of the
              configuration; they are loaded again when they change.
            </Empty>
          ),
        }}
      >
        {(page) => (
          <ul className="grid gap-3 lg:grid-cols-2">
            {page.items.map((playbook) => (
              <One
                key={playbook.id}
                playbook={playbook}
                earned={autonomy.data?.items.filter((one) => one.playbook === playbook.id) ?? []}
              />
            ))}
          </ul>
        )}
      </Remote>
    </div>
  );
}

const MODE_TONES: Record<string, "info" | "accent" | "warning" | "quiet"> = {
  auto: "info",
  approve: "warning",
  earn: "warning",
  dry_run: "accent",
};

function One({ playbook, earned }: { playbook: Playbook; earned: Autonomy[] }) {
  const { trigger } = playbook;
  return (
    <li className="flex min-w-0 flex-col gap-2 rounded-lg border border-line bg-surface p-3">
      <div className="flex flex-wrap items-center gap-2">
        <h2 className="text-sm font-semibold">{playbook.title || playbook.id}</h2>
        <Badge
          tone={playbook.enabled ? (MODE_TONES[playbook.effective_mode] ?? "quiet") : "quiet"}
          title={playbook.mode_reason}
        >
          {playbook.enabled ? playbook.effective_mode.replace("_", " ") : "disabled"}
        </Badge>
        <span className="ml-auto font-mono text-xs break-all text-faint">
          {playbook.id} v{playbook.version} · {playbook.file}
        </span>
      </div>
      {playbook.description ? <p className="text-sm text-muted">{playbook.description}</p> : null}
      <dl className="grid grid-cols-[5.5rem_minmax(0,1fr)] gap-x-3 gap-y-1 text-sm">
        <dt className="text-faint">When</dt>
        <dd>
          {[...trigger.rules, ...trigger.matchers].map((text) => (
            <code key={text} className="mr-2 font-mono text-xs break-all">
              {text}
            </code>
          ))}
          {trigger.severity ? <span className="text-muted">from {trigger.severity.toLowerCase()} up</span> : null}
        </dd>
        <dt className="text-faint">Does</dt>
        <dd>
          <ol>
            {playbook.steps.map((step) => (
              <li key={`${step.action}${step.target}`}>
                <code className="font-mono text-xs break-words">
                  {step.action} {step.target}
                </code>
              </li>
            ))}
          </ol>
        </dd>
        <dt className="text-faint">Proof</dt>
        <dd className="text-muted">
          {playbook.verification
            ? `looks every ${playbook.verification.every} for ${playbook.verification.within}, after ${playbook.verification.wait}`
            : "none: it counts as done"}
        </dd>
        <dt className="text-faint">Otherwise</dt>
        <dd className="text-muted">
          rollback {playbook.rollback} · cooldown {playbook.cooldown ?? "as configured"}
          {playbook.approval.by.length > 0 ? ` · asks ${playbook.approval.by.join(", ")}` : ""}
        </dd>
        {earned.length > 0 ? (
          <>
            <dt className="text-faint">Earned</dt>
            <dd className="text-muted">
              {earned.map((one) => (
                <span key={one.kind} className="mr-3">
                  {one.kind}: {one.streak} of {one.needed} in a row{one.is_earned ? " ✓" : ""} ({one.successes} good,{" "}
                  {one.failures} bad)
                </span>
              ))}
            </dd>
          </>
        ) : null}
      </dl>
    </li>
  );
}
