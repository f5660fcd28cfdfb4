/** Variables of a dashboard: what they are called and where their values come from. */
import { ArrowDown, ArrowUp, Plus, Trash2 } from "lucide-react";
import { useState } from "react";
import { Button, IconButton } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Field, Input, Segmented, Switch, TextArea } from "@/ui/Field";
import { wordsOf } from "./fields";
import { nameMistake } from "./files";
import { freshId, VARIABLES_MAX, type Variable } from "./spec";

interface Row {
  key: number;
  variable: Variable;
  /** Values as they are written: a list of words while it is a list. */
  source: "query" | "values";
  values: string;
  start: string;
}

let nextKey = 1;

function rowOf(variable: Variable): Row {
  const start = variable.default;
  return {
    key: nextKey++,
    variable,
    source: variable.values?.length ? "values" : "query",
    values: variable.values?.join(", ") ?? "",
    start: Array.isArray(start) ? start.join(", ") : (start ?? ""),
  };
}

/** A row as the variable it stands for. */
export function variableOf({ variable, source, values, start }: Omit<Row, "key">): Variable {
  const words = wordsOf(start);
  const { name, label, multi, query } = variable;
  return {
    name,
    label: label.trim() || name,
    ...(source === "query" ? { query: query ?? "" } : { values: wordsOf(values) }),
    multi: multi ?? false,
    default: words.length === 0 ? null : multi ? words : (words[0] ?? null),
  };
}

export function VariablesDialog({
  open,
  variables,
  onClose,
  onChange,
}: {
  open: boolean;
  variables: Variable[];
  onClose: () => void;
  onChange: (variables: Variable[]) => void;
}) {
  return (
    <Dialog
      open={open}
      onOpenChange={(next) => !next && onClose()}
      title="Variables"
      description="Choices of the reader. In queries they stand as $name, quoted where they must be."
      wide
    >
      <Form variables={variables} onClose={onClose} onChange={onChange} />
    </Dialog>
  );
}

function Form({
  variables,
  onClose,
  onChange,
}: {
  variables: Variable[];
  onClose: () => void;
  onChange: (variables: Variable[]) => void;
}) {
  const [rows, setRows] = useState(() => variables.map(rowOf));
  const set = (key: number, changes: Partial<Row>): void =>
    setRows(rows.map((row) => (row.key === key ? { ...row, ...changes } : row)));
  const mistakes = rows.map((row, index) =>
    nameMistake(
      row.variable.name,
      rows.slice(0, index).map((other) => other.variable.name),
    ),
  );
  const empty = rows.map((row) =>
    row.source === "query" ? !row.variable.query?.trim() : wordsOf(row.values).length === 0,
  );
  const move = (index: number, by: number): void => {
    const next = [...rows];
    const [row] = next.splice(index, 1);
    if (row) next.splice(index + by, 0, row);
    setRows(next);
  };
  const add = (): void => {
    const name = rows.some((row) => row.variable.name === "service")
      ? freshId(
          rows.map((row) => row.variable.name),
          "v",
        ).replace("-", "")
      : "service";
    setRows([
      ...rows,
      rowOf({
        name,
        label: name === "service" ? "Service" : "",
        query: "| stats count() by service",
        multi: true,
        default: null,
      }),
    ]);
  };
  return (
    <form
      className="flex flex-col gap-3"
      onSubmit={(event) => {
        event.preventDefault();
        onChange(rows.map(variableOf));
        onClose();
      }}
    >
      {rows.length === 0 ? (
        <p className="text-sm text-muted">None yet. A variable lets one dashboard serve every service.</p>
      ) : null}
      {rows.map((row, index) => (
        <fieldset key={row.key} className="flex flex-col gap-2 rounded-md border border-line p-3">
          <legend className="px-1 font-mono text-xs text-muted">${row.variable.name || "…"}</legend>
          <div className="grid gap-3 sm:grid-cols-[1fr_1fr_auto]">
            <Field label="Name" error={mistakes[index] ?? undefined}>
              {(ids) => (
                <Input
                  {...ids}
                  value={row.variable.name}
                  onChange={(event) => set(row.key, { variable: { ...row.variable, name: event.target.value } })}
                />
              )}
            </Field>
            <Field label="Label">
              {(ids) => (
                <Input
                  {...ids}
                  value={row.variable.label}
                  onChange={(event) => set(row.key, { variable: { ...row.variable, label: event.target.value } })}
                />
              )}
            </Field>
            <div className="flex items-center pt-4">
              <IconButton
                icon={ArrowUp}
                label="Move up"
                size="sm"
                disabled={index === 0}
                onClick={() => move(index, -1)}
              />
              <IconButton
                icon={ArrowDown}
                label="Move down"
                size="sm"
                disabled={index === rows.length - 1}
                onClick={() => move(index, 1)}
              />
              <IconButton
                icon={Trash2}
                label={`Remove $${row.variable.name}`}
                size="sm"
                onClick={() => setRows(rows.filter((other) => other.key !== row.key))}
              />
            </div>
          </div>
          <div className="flex flex-wrap items-center gap-3">
            <Segmented
              label="Where its values come from"
              value={row.source}
              onChange={(source) => set(row.key, { source })}
              options={[
                { value: "query", label: "Query" },
                { value: "values", label: "List" },
              ]}
            />
            <span className="flex items-center gap-2 text-sm">
              <Switch
                label={`Several of $${row.variable.name}`}
                checked={row.variable.multi ?? false}
                onChange={(multi) => set(row.key, { variable: { ...row.variable, multi } })}
              />
              Several at once, or all
            </span>
          </div>
          <div className="grid gap-3 sm:grid-cols-2">
            {row.source === "query" ? (
              <Field
                label="Search line"
                hint="Its first column holds the values."
                error={empty[index] ? "must not be empty" : undefined}
              >
                {(ids) => (
                  <TextArea
                    {...ids}
                    className="min-h-8 font-mono text-xs"
                    rows={2}
                    value={row.variable.query ?? ""}
                    onChange={(event) => set(row.key, { variable: { ...row.variable, query: event.target.value } })}
                  />
                )}
              </Field>
            ) : (
              <Field label="Values" hint="With commas between." error={empty[index] ? "must not be empty" : undefined}>
                {(ids) => (
                  <TextArea
                    {...ids}
                    className="min-h-8"
                    rows={2}
                    value={row.values}
                    onChange={(event) => set(row.key, { values: event.target.value })}
                  />
                )}
              </Field>
            )}
            <Field
              label="At first"
              hint={row.variable.multi ? "Values with commas between; empty: all." : "Empty: the first of them."}
            >
              {(ids) => (
                <Input {...ids} value={row.start} onChange={(event) => set(row.key, { start: event.target.value })} />
              )}
            </Field>
          </div>
        </fieldset>
      ))}
      <div className="flex flex-wrap justify-end gap-2">
        <Button icon={Plus} className="mr-auto" disabled={rows.length >= VARIABLES_MAX} onClick={add}>
          Add variable
        </Button>
        <Button onClick={onClose}>Cancel</Button>
        <Button kind="primary" type="submit" disabled={mistakes.some(Boolean) || empty.some(Boolean)}>
          Apply
        </Button>
      </div>
    </form>
  );
}
