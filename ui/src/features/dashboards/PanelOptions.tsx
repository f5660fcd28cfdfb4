/** How a panel is drawn. */
import { Plus, X } from "lucide-react";
import { useId } from "react";
import type { Column } from "@/api/query";
import { cx } from "@/lib/cx";
import type { Unit } from "@/lib/format";
import { Button, IconButton } from "@/ui/Button";
import { Field, Input, Select, Switch, TextArea } from "@/ui/Field";
import { Sign } from "@/ui/Severity";
import { isNumberType } from "@/viz/cells";
import type { Threshold, VizKind } from "@/viz/Visualisation";
import { type Panel, VIZ_KINDS } from "./spec";

const UNITS: { value: Unit; label: string }[] = [
  { value: "none", label: "Plain number" },
  { value: "ms", label: "Milliseconds" },
  { value: "seconds", label: "Seconds" },
  { value: "bytes", label: "Bytes" },
  { value: "percent", label: "Percent, 0 to 100" },
  { value: "share", label: "Share, 0 to 1" },
  { value: "per_second", label: "Per second" },
];

const OVER_TIME = new Set<VizKind>(["line", "area", "bar"]);

interface Props {
  panel: Panel;
  /** Columns of the answer, to choose from. */
  columns: Column[];
  onChange: (panel: Panel) => void;
}

export function PanelOptions({ panel, columns, onChange }: Props) {
  const set = (changes: Partial<Panel>): void => onChange({ ...panel, ...changes });
  const text = panel.viz === "text";
  return (
    <div className="flex flex-col gap-3">
      <Field label="Title">
        {(ids) => <Input {...ids} value={panel.title} onChange={(event) => set({ title: event.target.value })} />}
      </Field>
      <fieldset>
        <legend className="mb-1 text-xs font-medium text-muted">Drawn as</legend>
        <div className="grid grid-cols-3 gap-1">
          {VIZ_KINDS.map((kind) => (
            <button
              key={kind.value}
              type="button"
              aria-pressed={panel.viz === kind.value}
              onClick={() => set({ viz: kind.value })}
              className={cx(
                "h-8 rounded-md border text-xs",
                panel.viz === kind.value
                  ? "border-accent bg-selected font-medium"
                  : "border-line bg-surface text-muted hover:bg-hover",
              )}
            >
              {kind.label}
            </button>
          ))}
        </div>
      </fieldset>
      <Field label="Description" hint="Shown at the title.">
        {(ids) => (
          <TextArea
            {...ids}
            className="min-h-8"
            rows={2}
            value={panel.description ?? ""}
            onChange={(event) => set({ description: event.target.value || undefined })}
          />
        )}
      </Field>
      {text ? null : (
        <>
          <Field label="Unit">
            {(ids) => (
              <Select
                {...ids}
                className="w-full"
                value={panel.unit ?? "none"}
                onChange={(event) =>
                  set({ unit: event.target.value === "none" ? undefined : (event.target.value as Unit) })
                }
                options={UNITS}
              />
            )}
          </Field>
          <Thresholds
            steps={panel.thresholds ?? []}
            onChange={(thresholds) => set({ thresholds: thresholds.length > 0 ? thresholds : undefined })}
          />
          <Looks panel={panel} set={set} />
          <Roles panel={panel} columns={columns} set={set} />
        </>
      )}
    </div>
  );
}

type Set = (changes: Partial<Panel>) => void;

function Looks({ panel, set }: { panel: Panel; set: Set }) {
  const plot = OVER_TIME.has(panel.viz);
  return (
    <>
      {plot ? (
        <>
          <Toggle label="Stacked" on={panel.stacked ?? panel.viz === "bar"} onChange={(stacked) => set({ stacked })} />
          <Toggle label="Legend" on={panel.legend ?? true} onChange={(on) => set({ legend: on ? undefined : false })} />
          <Field label="Where there are no rows">
            {(ids) => (
              <Select
                {...ids}
                className="w-full"
                value={panel.missing ?? ""}
                onChange={(event) => set({ missing: (event.target.value || undefined) as Panel["missing"] })}
                options={[
                  { value: "", label: "0 for counts, a gap for the rest" },
                  { value: "gap", label: "A gap" },
                  { value: "zero", label: "0" },
                ]}
              />
            )}
          </Field>
        </>
      ) : null}
      {panel.viz === "number" ? (
        <Field label="Of values over time, show">
          {(ids) => (
            <Select
              {...ids}
              className="w-full"
              value={panel.reduce ?? ""}
              onChange={(event) => set({ reduce: (event.target.value || undefined) as Panel["reduce"] })}
              options={[
                { value: "", label: "The sum of counts, the last of the rest" },
                { value: "last", label: "The last" },
                { value: "sum", label: "The sum" },
                { value: "avg", label: "The mean" },
                { value: "max", label: "The greatest" },
                { value: "min", label: "The least" },
              ]}
            />
          )}
        </Field>
      ) : null}
    </>
  );
}

function Toggle({ label, on, onChange }: { label: string; on: boolean; onChange: (on: boolean) => void }) {
  return (
    <div className="flex items-center justify-between text-sm">
      <span className="text-muted">{label}</span>
      <Switch label={label} checked={on} onChange={onChange} />
    </div>
  );
}

const TONES: Threshold["tone"][] = ["ok", "warning", "critical"];

function Thresholds({ steps, onChange }: { steps: Threshold[]; onChange: (steps: Threshold[]) => void }) {
  const set = (index: number, changes: Partial<Threshold>): void =>
    onChange(steps.map((step, at) => (at === index ? { ...step, ...changes } : step)));
  return (
    <fieldset className="flex flex-col gap-1.5">
      <legend className="mb-1 text-xs font-medium text-muted">Thresholds</legend>
      {steps.map((step, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: steps have no names, and are edited in place
        <div key={index} className="flex items-center gap-1.5">
          <span className="text-xs text-muted">from</span>
          <Input
            type="number"
            step="any"
            aria-label={`Threshold ${index + 1}, from`}
            className="w-24"
            value={Number.isFinite(step.value) ? step.value : ""}
            onChange={(event) => set(index, { value: event.target.valueAsNumber || 0 })}
          />
          <Sign of={step.tone} />
          <Select
            aria-label={`Threshold ${index + 1}, tone`}
            className="flex-1"
            value={step.tone}
            onChange={(event) => set(index, { tone: event.target.value as Threshold["tone"] })}
            options={TONES.map((tone) => ({ value: tone, label: tone }))}
          />
          <IconButton
            icon={X}
            label={`Remove threshold ${index + 1}`}
            size="sm"
            onClick={() => onChange(steps.filter((_, at) => at !== index))}
          />
        </div>
      ))}
      <div>
        <Button
          size="sm"
          icon={Plus}
          disabled={steps.length >= 8}
          onClick={() => onChange([...steps, { value: 0, tone: TONES[steps.length % 3] ?? "warning" }])}
        >
          Add threshold
        </Button>
      </div>
    </fieldset>
  );
}

/** Which column is what; found by type where nothing is said. */
function Roles({ panel, columns, set }: { panel: Panel; columns: Column[]; set: Set }) {
  const id = useId();
  if (columns.length === 0) return null;
  const table = panel.viz === "table";
  return (
    <details className="rounded-md border border-line px-3 py-1.5">
      <summary className="cursor-pointer text-xs font-medium text-muted">Columns</summary>
      <div className="flex flex-col gap-3 py-2">
        {table ? null : (
          <Field label="Axis">
            {(ids) => (
              <Select
                {...ids}
                className="w-full"
                value={panel.x ?? ""}
                onChange={(event) => set({ x: event.target.value || undefined })}
                options={[
                  { value: "", label: "The first time, else the first text" },
                  ...columns.map(({ name }) => ({ value: name, label: name })),
                ]}
              />
            )}
          </Field>
        )}
        <Picks
          id={`${id}-v`}
          label={table ? "Columns shown" : "Values"}
          names={columns
            .filter((column) => table || isNumberType(column.type) || column.type === "any")
            .map((column) => column.name)}
          chosen={panel.values ?? []}
          onChange={(values) => set({ values: values.length > 0 ? values : undefined })}
        />
        {table ? null : (
          <Picks
            id={`${id}-s`}
            label="Series"
            names={columns.filter((column) => column.type !== "time").map((column) => column.name)}
            chosen={panel.series ?? []}
            onChange={(series) => set({ series: series.length > 0 ? series : undefined })}
          />
        )}
      </div>
    </details>
  );
}

function Picks({
  id,
  label,
  names,
  chosen,
  onChange,
}: {
  id: string;
  label: string;
  names: string[];
  chosen: string[];
  onChange: (chosen: string[]) => void;
}) {
  return (
    <fieldset className="flex flex-wrap gap-x-3">
      <legend className="mb-0.5 text-xs font-medium text-muted">{label}</legend>
      {names.map((name) => (
        <label key={name} htmlFor={`${id}-${name}`} className="flex min-h-6 items-center gap-1.5 text-sm">
          <input
            id={`${id}-${name}`}
            type="checkbox"
            checked={chosen.includes(name)}
            onChange={(event) =>
              onChange(event.target.checked ? [...chosen, name] : chosen.filter((other) => other !== name))
            }
          />
          {name}
        </label>
      ))}
    </fieldset>
  );
}
