/** Steps of an alert's life: which there are from where, and where they lead. Pure. */
import { BellOff, CheckCheck, CircleCheck, type LucideIcon, RotateCcw } from "lucide-react";
import type { AlertRow, Status } from "./model";

export type Step = "acknowledge" | "suppress" | "resolve" | "reopen";

export const STEPS: Record<
  Step,
  { to: Status; label: string; done: string; icon: LucideIcon; keys: string; from: readonly Status[] }
> = {
  acknowledge: {
    to: "ACKNOWLEDGED",
    label: "Acknowledge",
    done: "acknowledged",
    icon: CheckCheck,
    keys: "a",
    from: ["OPEN", "SUPPRESSED"],
  },
  suppress: {
    to: "SUPPRESSED",
    label: "Suppress",
    done: "suppressed",
    icon: BellOff,
    keys: "s",
    from: ["OPEN", "ACKNOWLEDGED"],
  },
  resolve: {
    to: "RESOLVED",
    label: "Resolve",
    done: "resolved",
    icon: CircleCheck,
    keys: "e",
    from: ["OPEN", "ACKNOWLEDGED", "SUPPRESSED"],
  },
  reopen: {
    to: "OPEN",
    label: "Reopen",
    done: "reopened",
    icon: RotateCcw,
    keys: "o",
    from: ["ACKNOWLEDGED", "SUPPRESSED", "RESOLVED"],
  },
};

export const STEP_NAMES = Object.keys(STEPS) as Step[];

/** What goes with a step. */
export interface StepWords {
  note?: string;
  /** Of `suppress`: for how long, as the server takes it, or until when; neither: until somebody reopens it. */
  for?: string;
  until?: string;
}

/** Whether the step changes an alert of this status. */
export function leads(step: Step, status: Status): boolean {
  return STEPS[step].from.includes(status);
}

/** The alert as it will be after the step, shown until the server says so itself. */
export function after(row: AlertRow, step: Step, words: StepWords): AlertRow {
  const until = step === "suppress" ? (words.until ?? null) : null;
  return leads(step, row.status) ? { ...row, status: STEPS[step].to, suppressed_until: until } : row;
}

/** `1 alert`, `12 alerts`. */
export function alerts(count: number): string {
  return `${count.toLocaleString("en-US")} ${count === 1 ? "alert" : "alerts"}`;
}

/** What a bulk step came to, in words. */
export function outcome(step: Step, changed: number, failed: number): string {
  const done = `${alerts(changed)} ${STEPS[step].done}`;
  return failed > 0 ? `${done}, ${failed.toLocaleString("en-US")} failed` : done;
}
