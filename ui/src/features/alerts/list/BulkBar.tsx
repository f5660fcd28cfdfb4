import { X } from "lucide-react";
import { formatNumber } from "@/lib/format";
import { Button, IconButton } from "@/ui/Button";
import { Spinner } from "@/ui/States";
import { alerts, STEP_NAMES, STEPS, type Step } from "../steps";
import type { Bulk } from "../useSteps";
import type { Selection } from "./useSelection";

/** What can be done with those chosen, and how far a long step has come. */
export function BulkBar({
  selection,
  hasMore,
  cannotAll,
  bulk,
  disabled,
  onStep,
}: {
  selection: Selection;
  /** There are alerts that pass and are not loaded. */
  hasMore: boolean;
  /** Why all that pass cannot be chosen, if so. */
  cannotAll: string | null;
  bulk: Bulk | null;
  disabled: string | null;
  onStep: (step: Step) => void;
}) {
  if (bulk)
    return (
      <div
        role="status"
        className="flex items-center gap-2 rounded-md border border-accent bg-accent-soft px-3 py-1.5 text-sm"
      >
        <Spinner />
        <span className="tnum">
          {alerts(bulk.changed)} {STEPS[bulk.step].done} so far
        </span>
        <Button size="sm" className="ml-auto" onClick={bulk.cancel}>
          Stop
        </Button>
      </div>
    );
  if (selection.count === 0) return null;
  return (
    <section
      aria-label="Chosen alerts"
      className="flex flex-wrap items-center gap-1.5 rounded-md border border-accent bg-accent-soft px-3 py-1.5 text-sm"
    >
      <span role="status" className="tnum font-medium">
        {selection.isAll ? "All that match" : `${formatNumber(selection.count)} chosen`}
      </span>
      {selection.isAllLoaded && hasMore && !selection.isAll ? (
        <Button
          kind="ghost"
          size="sm"
          disabled={cannotAll !== null}
          title={cannotAll ?? undefined}
          onClick={selection.chooseAll}
        >
          Choose all that match, those not loaded too
        </Button>
      ) : null}
      <div className="ml-auto flex flex-wrap items-center gap-1">
        {STEP_NAMES.map((step) => (
          <Button
            key={step}
            size="sm"
            icon={STEPS[step].icon}
            disabled={disabled !== null}
            title={disabled ?? `${STEPS[step].label} (${STEPS[step].keys})`}
            onClick={() => onStep(step)}
          >
            {STEPS[step].label}
          </Button>
        ))}
        <IconButton icon={X} size="sm" label="Choose none" keys="Esc" onClick={selection.clear} />
      </div>
    </section>
  );
}
