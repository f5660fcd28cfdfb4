/** What a dashboard is called, where it is filed, and what it opens with. */
import { useState } from "react";
import { useRange } from "@/app/url";
import { describeRange, useZone } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Field, Input, Select, TextArea } from "@/ui/Field";
import { KIND_LOOKS } from "./Annotations";
import { wordsOf } from "./fields";
import { ANNOTATION_KINDS, type DashboardContent, REFRESHES } from "./spec";

export function SettingsDialog({
  open,
  content,
  onClose,
  onChange,
}: {
  open: boolean;
  content: DashboardContent;
  onClose: () => void;
  onChange: (content: DashboardContent) => void;
}) {
  return (
    <Dialog open={open} onOpenChange={(next) => !next && onClose()} title="Settings of the dashboard">
      <Form content={content} onClose={onClose} onChange={onChange} />
    </Dialog>
  );
}

function Form({
  content,
  onClose,
  onChange,
}: {
  content: DashboardContent;
  onClose: () => void;
  onChange: (content: DashboardContent) => void;
}) {
  const zone = useZone((state) => state.zone);
  const { range } = useRange();
  const [draft, setDraft] = useState(content);
  const [tags, setTags] = useState(content.tags.join(", "));
  const { spec } = draft;
  const set = (changes: Partial<DashboardContent>): void => setDraft({ ...draft, ...changes });
  const setSpec = (changes: Partial<DashboardContent["spec"]>): void => set({ spec: { ...spec, ...changes } });
  const kinds = spec.annotations?.kinds ?? [];
  return (
    <form
      className="flex flex-col gap-3"
      onSubmit={(event) => {
        event.preventDefault();
        onChange({ ...draft, title: draft.title.trim(), tags: wordsOf(tags) });
        onClose();
      }}
    >
      <Field label="Title" error={draft.title.trim() ? undefined : "must not be empty"}>
        {(ids) => (
          <Input
            {...ids}
            maxLength={200}
            value={draft.title}
            onChange={(event) => set({ title: event.target.value })}
          />
        )}
      </Field>
      <Field label="Description">
        {(ids) => (
          <TextArea
            {...ids}
            maxLength={2000}
            value={draft.description}
            onChange={(event) => set({ description: event.target.value })}
          />
        )}
      </Field>
      <div className="grid gap-3 sm:grid-cols-2">
        <Field label="Folder">
          {(ids) => (
            <Input
              {...ids}
              maxLength={100}
              value={draft.folder}
              onChange={(event) => set({ folder: event.target.value })}
            />
          )}
        </Field>
        <Field label="Tags" hint="With commas between.">
          {(ids) => <Input {...ids} value={tags} onChange={(event) => setTags(event.target.value)} />}
        </Field>
        <Field label="Opens with" hint={describeRange(spec.time, zone)}>
          {() => (
            <Button
              onClick={() => setSpec({ time: range })}
              disabled={range.from === spec.time.from && range.to === spec.time.to}
            >
              Take the range shown now
            </Button>
          )}
        </Field>
        <Field label="Asks again">
          {(ids) => (
            <Select
              {...ids}
              className="w-full"
              value={spec.refresh ?? ""}
              onChange={(event) => setSpec({ refresh: event.target.value || null })}
              options={[
                { value: "", label: "Never by itself" },
                ...[...new Set([...REFRESHES, ...(spec.refresh ? [spec.refresh] : [])])].map((value) => ({
                  value,
                  label: `Every ${value}`,
                })),
              ]}
            />
          )}
        </Field>
      </div>
      <fieldset className="flex flex-wrap gap-x-4 gap-y-1">
        <legend className="mb-1 text-xs font-medium text-muted">Annotations shown</legend>
        {ANNOTATION_KINDS.map((kind) => (
          <label key={kind} className="flex min-h-6 items-center gap-1.5 text-sm">
            <input
              type="checkbox"
              checked={kinds.includes(kind)}
              onChange={(event) =>
                setSpec({
                  annotations: {
                    kinds: event.target.checked ? [...kinds, kind] : kinds.filter((other) => other !== kind),
                  },
                })
              }
            />
            {KIND_LOOKS[kind].label}
          </label>
        ))}
      </fieldset>
      <div className="flex justify-end gap-2">
        <Button onClick={onClose}>Cancel</Button>
        <Button kind="primary" type="submit" disabled={!draft.title.trim()}>
          Apply
        </Button>
      </div>
    </form>
  );
}
