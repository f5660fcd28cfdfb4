import { Plus, Search, X } from "lucide-react";
import { type FormEvent, useEffect, useId, useRef, useState } from "react";
import { Button } from "@/ui/Button";
import { Field, Input, Select } from "@/ui/Field";
import { Popover } from "@/ui/Menu";
import { type AlertFilter, chipsOf, type Part, SORTS, type Sort } from "../filter";
import { matcherFault } from "../matchers";
import type { AlertRow } from "../model";
import { factsOf } from "./facts";

const TYPING_MS = 250;

const SORT_NAMES: Record<Sort, string> = { newest: "Newest first", last_seen: "Last seen first", worst: "Worst first" };

/** Search, chips of what narrows the list, and a way to add more. */
export function FilterBar({
  filter,
  rows,
  onChange,
}: {
  filter: AlertFilter;
  /** Rows that values are offered from. */
  rows: readonly AlertRow[];
  onChange: (changes: Partial<AlertFilter>, options?: { replace?: boolean }) => void;
}) {
  const chips = chipsOf(filter);
  const remove = (part: Part | "match", at: number): void =>
    part === "match"
      ? onChange({ matchers: filter.matchers.filter((_, index) => index !== at) })
      : onChange({ [part]: undefined });
  return (
    <div className="flex flex-wrap items-center gap-1.5">
      <TextSearch
        value={filter.text ?? ""}
        onChange={(text) => onChange({ text: text || undefined }, { replace: true })}
      />
      <AddFilter filter={filter} rows={rows} onChange={onChange} />
      {chips.length > 0 ? (
        <ul aria-label="Filters" className="flex flex-wrap items-center gap-1.5">
          {chips.map((chip) => (
            <li
              key={`${chip.part}${chip.at}`}
              className="flex h-7 max-w-full items-center gap-1 rounded-md border border-line bg-surface pr-0.5 pl-2 text-xs"
            >
              <span className="text-muted">{chip.label}</span>
              <span className="max-w-56 truncate font-medium" title={chip.value}>
                {chip.value}
              </span>
              <button
                type="button"
                aria-label={`Remove the filter ${chip.label} ${chip.value}`}
                onClick={() => remove(chip.part, chip.at)}
                className="flex size-6 items-center justify-center rounded text-faint hover:bg-hover hover:text-fg"
              >
                <X size={13} aria-hidden />
              </button>
            </li>
          ))}
          <li>
            <Button
              kind="ghost"
              size="sm"
              onClick={() =>
                onChange({
                  ...Object.fromEntries(
                    chips.filter((chip) => chip.part !== "match").map((chip) => [chip.part, undefined]),
                  ),
                  matchers: [],
                })
              }
            >
              Clear filters
            </Button>
          </li>
        </ul>
      ) : null}
      <div className="ml-auto">
        <Select
          aria-label="Order"
          value={filter.sort}
          onChange={(event) => onChange({ sort: SORTS.find((sort) => sort === event.target.value) ?? "newest" })}
          options={SORTS.map((sort) => ({ value: sort, label: SORT_NAMES[sort] }))}
        />
      </div>
    </div>
  );
}

function TextSearch({ value, onChange }: { value: string; onChange: (text: string) => void }) {
  const [text, setText] = useState(value);
  const told = useRef(value);
  // Another text in the URL (a chip removed, the back button) is shown; what is being typed is not overwritten.
  useEffect(() => {
    if (value !== told.current) setText(value);
    told.current = value;
  }, [value]);
  useEffect(() => {
    const timer = setTimeout(() => {
      const next = text.trim();
      if (next === told.current) return;
      told.current = next;
      onChange(next);
    }, TYPING_MS);
    return () => clearTimeout(timer);
  }, [text, onChange]);
  return (
    <div className="relative min-w-44 flex-1 sm:max-w-80">
      <Search size={14} aria-hidden className="absolute top-2.25 left-2.5 text-faint" />
      <Input
        data-search
        aria-label="Search in alerts"
        type="search"
        value={text}
        placeholder="Search title, rule, service, entity, labels"
        onChange={(event) => setText(event.target.value)}
        onKeyDown={(event) => event.key === "Escape" && event.currentTarget.blur()}
        className="pl-8"
      />
    </div>
  );
}

type Choice = Exclude<Part, "text"> | "match";

const CHOICES: { value: Choice; label: string; hint?: string }[] = [
  { value: "severity", label: "Severity" },
  { value: "priority", label: "Priority" },
  { value: "service", label: "Service" },
  { value: "rule", label: "Rule" },
  { value: "entity", label: "Entity", hint: "kind:value, such as source_ip:203.0.113.5" },
  { value: "assignee", label: "Assignee", hint: "A name, or nobody" },
  { value: "incident", label: "Incident", hint: "Its number or id" },
  { value: "since", label: "Raised since", hint: "now-1h, now-24h, or a time as RFC 3339" },
  { value: "muted", label: "Muted" },
  { value: "match", label: "Label matcher", hint: 'label=value, !=, =~, !~; for example service=~"pay.*"' },
];

function AddFilter({
  filter,
  rows,
  onChange,
}: {
  filter: AlertFilter;
  rows: readonly AlertRow[];
  onChange: (changes: Partial<AlertFilter>) => void;
}) {
  const [open, setOpen] = useState(false);
  const [choice, setChoice] = useState<Choice>("severity");
  const [value, setValue] = useState("");
  const [fault, setFault] = useState<string | null>(null);
  const list = useId();
  const facts = open ? factsOf(choice, rows) : { values: [], closed: false };
  const current = facts.closed && !facts.values.includes(value) ? (facts.values[0] ?? "") : value;
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    const text = current.trim();
    const wrong = !text
      ? "say which"
      : choice === "match"
        ? matcherFault(text)
        : choice === "entity" && !text.includes(":")
          ? "write it as kind:value"
          : null;
    if (wrong) {
      setFault(wrong);
      return;
    }
    if (choice === "match") onChange({ matchers: [...filter.matchers, text] });
    else if (choice === "muted") onChange({ muted: text === "yes" ? "true" : "false" });
    else onChange({ [choice]: text });
    setValue("");
    setFault(null);
    setOpen(false);
  };
  return (
    <Popover
      label="Add a filter"
      open={open}
      onOpenChange={setOpen}
      trigger={<Button icon={Plus}>Filter</Button>}
      className="w-80"
    >
      <form onSubmit={submit} className="flex flex-col gap-1">
        <Field label="What">
          {(ids) => (
            <Select
              {...ids}
              className="w-full"
              value={choice}
              onChange={(event) => {
                setChoice(event.target.value as Choice);
                setValue("");
                setFault(null);
              }}
              options={CHOICES.map(({ value: name, label }) => ({ value: name, label }))}
            />
          )}
        </Field>
        <Field label="Which" error={fault} hint={CHOICES.find((entry) => entry.value === choice)?.hint}>
          {(ids) =>
            facts.closed ? (
              <Select
                {...ids}
                className="w-full"
                value={current}
                onChange={(event) => setValue(event.target.value)}
                options={facts.values.map((each) => ({ value: each, label: each }))}
              />
            ) : (
              <>
                <Input {...ids} list={list} value={value} onChange={(event) => setValue(event.target.value)} />
                <datalist id={list}>
                  {facts.values.map((each) => (
                    <option key={each} value={each} />
                  ))}
                </datalist>
              </>
            )
          }
        </Field>
        <Button kind="primary" type="submit" className="mt-1">
          Add filter
        </Button>
      </form>
    </Popover>
  );
}
