/** Moves and resizes a panel without a pointer: arrows move, Shift and arrows resize, Enter or Escape ends it. */
import {
  ArrowDown,
  ArrowLeft,
  ArrowRight,
  ArrowUp,
  Check,
  ChevronsDownUp,
  ChevronsLeftRight,
  ChevronsRightLeft,
  ChevronsUpDown,
  type LucideIcon,
} from "lucide-react";
import { type KeyboardEvent, useEffect, useRef } from "react";
import { IconButton } from "@/ui/Button";
import type { Step } from "./layout";
import type { Place } from "./spec";

const STEPS: { step: Step; label: string; icon: LucideIcon; keys: string }[] = [
  { step: "left", label: "Move left", icon: ArrowLeft, keys: "←" },
  { step: "right", label: "Move right", icon: ArrowRight, keys: "→" },
  { step: "up", label: "Move up", icon: ArrowUp, keys: "↑" },
  { step: "down", label: "Move down", icon: ArrowDown, keys: "↓" },
  { step: "narrower", label: "Narrower", icon: ChevronsRightLeft, keys: "shift ←" },
  { step: "wider", label: "Wider", icon: ChevronsLeftRight, keys: "shift →" },
  { step: "shorter", label: "Shorter", icon: ChevronsDownUp, keys: "shift ↑" },
  { step: "taller", label: "Taller", icon: ChevronsUpDown, keys: "shift ↓" },
];

const KEYS: Record<string, [Step, Step]> = {
  ArrowLeft: ["left", "narrower"],
  ArrowRight: ["right", "wider"],
  ArrowUp: ["up", "shorter"],
  ArrowDown: ["down", "taller"],
};

export function MoveBar({
  title,
  place,
  onStep,
  onDone,
}: {
  title: string;
  place: Place;
  onStep: (step: Step) => void;
  onDone: () => void;
}) {
  const bar = useRef<HTMLDivElement>(null);
  useEffect(() => bar.current?.focus(), []);
  const onKeyDown = (event: KeyboardEvent): void => {
    const steps = KEYS[event.key];
    if (steps) onStep(steps[event.shiftKey ? 1 : 0]);
    else if (event.key === "Escape" || (event.key === "Enter" && event.target === event.currentTarget)) onDone();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <div
      ref={bar}
      role="toolbar"
      aria-label={`Move or resize ${title}`}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: its arrow keys are what it is for
      tabIndex={0}
      onKeyDown={onKeyDown}
      className="flex min-h-9 shrink-0 flex-wrap items-center gap-0.5 rounded-t-lg bg-selected px-2"
    >
      {STEPS.map((one) => (
        <IconButton
          key={one.step}
          icon={one.icon}
          label={one.label}
          keys={one.keys}
          size="sm"
          onClick={() => onStep(one.step)}
        />
      ))}
      <span aria-live="polite" className="tnum px-1 text-xs whitespace-nowrap text-muted">
        column {place.x + 1}, row {place.y + 1}, {place.w} × {place.h}
      </span>
      <IconButton icon={Check} label="Done" keys="Enter" size="sm" onClick={onDone} className="ml-auto" />
    </div>
  );
}
