import { useQueryClient } from "@tanstack/react-query";
import { Plus, X } from "lucide-react";
import { type FormEvent, useId, useState } from "react";
import { zoneName } from "@/lib/time";
import { Button, IconButton } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Field, Input, Segmented, Switch, TextArea } from "@/ui/Field";
import { toast } from "@/ui/Toasts";
import { localInput } from "../alerts/duration";
import { matcherFault } from "../alerts/matchers";
import { saveSilence } from "./api";
import { Preview } from "./Preview";
import { type Draft, faultsOf, requestOf, WEEKDAYS, written } from "./silence";

const PERIODS: [string, number][] = [
  ["1 h", 1],
  ["2 h", 2],
  ["4 h", 4],
  ["1 day", 24],
  ["1 week", 168],
];

/** Makes or changes a silence; shows all the while which alerts it would keep quiet. */
export function SilenceDialog({ draft: first, onClose }: { draft: Draft; onClose: () => void }) {
  const queries = useQueryClient();
  const form = useId();
  const [draft, setDraft] = useState(first);
  const [tried, setTried] = useState(false);
  const [busy, setBusy] = useState(false);
  const faults = faultsOf(draft, Date.now());
  const shown = tried ? faults : {};
  const change = (changes: Partial<Draft>): void => setDraft({ ...draft, ...changes });
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    setTried(true);
    if (Object.keys(faults).length > 0) return;
    setBusy(true);
    saveSilence(requestOf(draft))
      .then(() => {
        toast.ok(draft.id ? "The silence was changed" : "The silence is made");
        onClose();
      })
      .catch((error: unknown) => toast.failed(error))
      .finally(() => {
        setBusy(false);
        void queries.invalidateQueries({ queryKey: ["silences"] });
      });
  };
  const right = written(draft).filter((text) => matcherFault(text) === null);
  return (
    <Dialog
      open
      onOpenChange={(open) => !open && onClose()}
      side
      title={draft.id ? "Change the silence" : draft.kind === "maintenance" ? "New maintenance window" : "New silence"}
      description="Alerts go on being raised and counted; nobody is told, and no playbook acts."
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" type="submit" form={form} busy={busy}>
            {draft.id ? "Save" : "Keep quiet"}
          </Button>
        </>
      }
    >
      <form id={form} onSubmit={submit} className="flex flex-col gap-3">
        <div className="flex">
          <Segmented
            label="Kind"
            value={draft.kind}
            onChange={(kind) => change({ kind })}
            options={[
              { value: "silence", label: "Silence" },
              { value: "maintenance", label: "Maintenance window" },
            ]}
          />
        </div>
        <fieldset className="flex flex-col gap-1.5">
          <legend className="mb-1 text-xs font-medium text-muted">Alerts that pass all of these</legend>
          {draft.matchers.map((matcher, at) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: lines of a form are what their place is
            <div key={at} className="flex gap-1">
              <Input
                aria-label={`Matcher ${at + 1}`}
                aria-invalid={matcher.trim() !== "" && matcherFault(matcher) !== null ? true : undefined}
                placeholder='service="payment"  or  severity=~"warning|critical"'
                className="font-mono"
                autoFocus={at === draft.matchers.length - 1}
                value={matcher}
                onChange={(event) =>
                  change({ matchers: draft.matchers.map((each, index) => (index === at ? event.target.value : each)) })
                }
              />
              {draft.matchers.length > 1 ? (
                <IconButton
                  icon={X}
                  label={`Remove matcher ${at + 1}`}
                  onClick={() => change({ matchers: draft.matchers.filter((_, index) => index !== at) })}
                />
              ) : null}
            </div>
          ))}
          <div className="flex items-center gap-2">
            <Button size="sm" icon={Plus} onClick={() => change({ matchers: [...draft.matchers, ""] })}>
              And…
            </Button>
            <span className={shown.matchers ? "text-xs text-critical" : "text-xs text-faint"}>
              {shown.matchers ?? "label=value, !=, =~ pattern, !~ pattern"}
            </span>
          </div>
        </fieldset>
        <Preview matchers={right} />
        <div className="grid gap-3 sm:grid-cols-2">
          <Field label={`From (${zoneName("local")})`}>
            {(ids) => (
              <Input
                {...ids}
                type="datetime-local"
                value={draft.starts}
                onChange={(event) => change({ starts: event.target.value })}
              />
            )}
          </Field>
          <Field label={`Until (${zoneName("local")})`} error={shown.ends}>
            {(ids) => (
              <Input
                {...ids}
                type="datetime-local"
                value={draft.ends}
                onChange={(event) => change({ ends: event.target.value })}
              />
            )}
          </Field>
        </div>
        <fieldset className="flex flex-wrap gap-1">
          <legend className="sr-only">Length</legend>
          {PERIODS.map(([label, hours]) => (
            <Button
              key={label}
              size="sm"
              onClick={() => {
                const from = Date.parse(draft.starts);
                change({ ends: localInput((Number.isNaN(from) ? Date.now() : from) + hours * 3_600_000) });
              }}
            >
              {label}
            </Button>
          ))}
        </fieldset>
        <div className="flex items-center gap-2 text-sm">
          <Switch checked={draft.recurs} onChange={(recurs) => change({ recurs })} label="Only at certain hours" />
          <span>Only at certain hours, again and again until the end</span>
        </div>
        {draft.recurs ? (
          <div className="flex flex-col gap-2 rounded-md border border-line p-3">
            <fieldset className="flex flex-wrap gap-1">
              <legend className="mb-1 text-xs font-medium text-muted">Days (none: every day)</legend>
              {WEEKDAYS.map((day) => {
                const on = draft.weekdays.includes(day);
                return (
                  <Button
                    key={day}
                    size="sm"
                    aria-pressed={on}
                    aria-label={day}
                    className={on ? "border-accent bg-accent-soft" : undefined}
                    onClick={() =>
                      change({
                        weekdays: WEEKDAYS.filter((each) => (each === day ? !on : draft.weekdays.includes(each))),
                      })
                    }
                  >
                    {day.slice(0, 3)}
                  </Button>
                );
              })}
            </fieldset>
            <div className="grid gap-2 sm:grid-cols-3">
              <Field label="From" error={shown.times}>
                {(ids) => (
                  <Input
                    {...ids}
                    type="time"
                    value={draft.from}
                    onChange={(event) => change({ from: event.target.value })}
                  />
                )}
              </Field>
              <Field label="To">
                {(ids) => (
                  <Input
                    {...ids}
                    type="time"
                    value={draft.to}
                    onChange={(event) => change({ to: event.target.value })}
                  />
                )}
              </Field>
              <Field label="On the clocks of">
                {(ids) => (
                  <Input {...ids} value={draft.zone} onChange={(event) => change({ zone: event.target.value })} />
                )}
              </Field>
            </div>
          </div>
        ) : null}
        <Field label="Why" error={shown.comment}>
          {(ids) => (
            <TextArea
              {...ids}
              rows={2}
              maxLength={1000}
              value={draft.comment}
              onChange={(event) => change({ comment: event.target.value })}
            />
          )}
        </Field>
      </form>
    </Dialog>
  );
}
