/** What the reader may choose: one value from a list, or several of them. */
import { ChevronDown, TriangleAlert } from "lucide-react";
import { useState } from "react";
import { cx } from "@/lib/cx";
import { Button } from "@/ui/Button";
import { Input, Select } from "@/ui/Field";
import { Popover } from "@/ui/Menu";
import { Tip } from "@/ui/Tip";
import type { Chosen } from "./interpolate";
import type { Variable } from "./spec";
import type { Offered } from "./variables";

/** Values listed at once; more are found by typing. */
const LISTED_MAX = 200;

export function VariablesBar({
  offered,
  onChoose,
}: {
  offered: Offered[];
  onChoose: (variable: Variable, chosen: Chosen) => void;
}) {
  if (offered.length === 0) return null;
  return (
    <fieldset className="flex flex-wrap items-center gap-x-3 gap-y-1.5">
      <legend className="sr-only">Variables</legend>
      {offered.map((one) => (
        <div key={one.variable.name} className="flex max-w-full min-w-0 items-center gap-1.5 text-sm">
          <span className="truncate text-muted">{one.variable.label || one.variable.name}</span>
          {one.variable.multi ? <Several of={one} onChoose={onChoose} /> : <One of={one} onChoose={onChoose} />}
          {one.error ? (
            <Tip text={`Its values could not be found: ${one.error.message}`}>
              <button type="button" aria-label={`Values of ${one.variable.label} could not be found`}>
                <TriangleAlert size={14} aria-hidden className="text-warning" />
              </button>
            </Tip>
          ) : null}
        </div>
      ))}
    </fieldset>
  );
}

function One({ of, onChoose }: { of: Offered; onChoose: (variable: Variable, chosen: Chosen) => void }) {
  const value = of.chosen.values[0] ?? "";
  const options = value && !of.options.includes(value) ? [value, ...of.options] : of.options;
  return (
    <Select
      aria-label={of.variable.label || of.variable.name}
      value={value}
      disabled={options.length === 0}
      onChange={(event) => onChoose(of.variable, { all: false, values: [event.target.value] })}
      options={
        options.length > 0
          ? options.map((option) => ({ value: option, label: option }))
          : [{ value: "", label: of.loading ? "…" : "no values" }]
      }
    />
  );
}

/** What is chosen after a value is clicked; the last one taken away means all. */
export function picked(chosen: Chosen, value: string): Chosen {
  if (chosen.all) return { all: false, values: [value] };
  const values = chosen.values.includes(value)
    ? chosen.values.filter((one) => one !== value)
    : [...chosen.values, value];
  return values.length === 0 ? { all: true, values: [] } : { all: false, values };
}

function Several({ of, onChoose }: { of: Offered; onChoose: (variable: Variable, chosen: Chosen) => void }) {
  const [text, setText] = useState("");
  const { chosen, variable } = of;
  const label = variable.label || variable.name;
  const known = [...new Set([...chosen.values, ...of.options])];
  const fits = known.filter((option) => option.toLowerCase().includes(text.trim().toLowerCase()));
  const shown = chosen.all ? "All" : chosen.values.length === 1 ? chosen.values[0] : `${chosen.values.length} chosen`;
  return (
    <Popover
      label={label}
      className="w-72 p-2"
      onOpenChange={() => setText("")}
      trigger={
        <Button aria-label={`${label}: ${chosen.all ? "all" : chosen.values.join(", ")}`}>
          <span className="max-w-48 truncate">{shown}</span>
          <ChevronDown size={13} aria-hidden className="text-faint" />
        </Button>
      }
    >
      <Input
        aria-label={`Find a value of ${label}`}
        placeholder="Find"
        value={text}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={(event) => {
          const value = fits[0] ?? text.trim();
          if (event.key !== "Enter" || !value) return;
          event.preventDefault();
          onChoose(variable, picked(chosen, value));
          setText("");
        }}
      />
      <ul className="mt-2 flex max-h-72 flex-col overflow-auto" aria-label={`Values of ${label}`}>
        <li>
          <Choice label="All" on={chosen.all} onClick={() => onChoose(variable, { all: true, values: [] })} />
        </li>
        {fits.slice(0, LISTED_MAX).map((option) => (
          <li key={option}>
            <Choice
              label={option}
              on={!chosen.all && chosen.values.includes(option)}
              onClick={() => onChoose(variable, picked(chosen, option))}
            />
          </li>
        ))}
      </ul>
      <p className="px-2 pt-1 text-xs text-faint">
        {of.loading
          ? "Looking for values…"
          : fits.length > LISTED_MAX
            ? `and ${fits.length - LISTED_MAX} more: type to find them`
            : fits.length === 0
              ? "No value of that name. Enter takes it as it is."
              : null}
      </p>
    </Popover>
  );
}

function Choice({ label, on, onClick }: { label: string; on: boolean; onClick: () => void }) {
  return (
    // biome-ignore lint/a11y/useSemanticElements: a whole row that is a check box
    <button
      type="button"
      role="checkbox"
      aria-checked={on}
      onClick={onClick}
      className="flex w-full items-center gap-2 rounded px-2 py-1 text-left text-sm hover:bg-hover"
    >
      <span
        aria-hidden
        className={cx(
          "flex size-3.5 shrink-0 rounded-xs border",
          on ? "border-accent bg-accent" : "border-line-strong",
        )}
      />
      <span className="truncate">{label}</span>
    </button>
  );
}
