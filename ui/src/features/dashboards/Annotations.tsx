/** What people noted: a list, and a form to add and change. Each is a mark on every time axis of the dashboard. */
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Pencil, Plus, Rocket, SearchCheck, Siren, Trash2 } from "lucide-react";
import { type FormEvent, useState } from "react";
import { asApiError } from "@/api/problem";
import { useCan, useWhoAmI } from "@/app/whoami";
import { formatTime, resolveTime, toRfc3339, useZone, zoneName } from "@/lib/time";
import { Button, IconButton } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Field, Input, Segmented, Select, TextArea } from "@/ui/Field";
import { Badge } from "@/ui/Severity";
import { Empty } from "@/ui/States";
import { toast } from "@/ui/Toasts";
import type { Mark } from "@/viz/Visualisation";
import { type Annotation, type AnnotationContent, addAnnotation, deleteAnnotation, replaceAnnotation } from "./api";
import { NO_RIGHT, wordsOf } from "./fields";
import { ANNOTATION_KINDS, type AnnotationKind } from "./spec";

export const KIND_LOOKS = {
  deployment: { icon: Rocket, tone: "info", label: "Deployment" },
  incident: { icon: Siren, tone: "critical", label: "Incident" },
  investigation: { icon: SearchCheck, tone: "warning", label: "Investigation" },
} as const;

/** Annotations as marks. */
export function marksOf(annotations: Annotation[], onOpen: (annotation: Annotation) => void): Mark[] {
  return annotations.map((one) => ({
    at: Date.parse(one.at),
    until: one.until ? Date.parse(one.until) : null,
    text: `${KIND_LOOKS[one.kind].label}${one.service ? ` of ${one.service}` : ""}: ${one.text}`,
    tone: KIND_LOOKS[one.kind].tone,
    onOpen: () => onOpen(one),
  }));
}

/** What the dialog shows: the list, one to change, or a new one. */
export type AnnotationsView = { kind: "list" } | { kind: "edit"; of: Annotation } | { kind: "new"; at?: string } | null;

interface Props {
  view: AnnotationsView;
  onView: (view: AnnotationsView) => void;
  annotations: Annotation[];
  error: Error | null;
}

export function AnnotationsDialog({ view, onView, annotations, error }: Props) {
  const can = useCan("alerts:write");
  return (
    <Dialog
      open={view !== null}
      onOpenChange={(open) => !open && onView(null)}
      side
      title={view?.kind === "edit" ? "Annotation" : view?.kind === "new" ? "New annotation" : "Annotations"}
      description="Deployments, incidents and investigations, marked on every chart over time."
    >
      {view?.kind === "list" ? (
        <div className="flex flex-col gap-3">
          <div>
            <Button
              icon={Plus}
              disabled={!can}
              title={can ? undefined : NO_RIGHT}
              onClick={() => onView({ kind: "new" })}
            >
              Add annotation
            </Button>
          </div>
          {error ? <p className="text-sm text-critical">{asApiError(error).detail}</p> : null}
          {annotations.length === 0 && !error ? (
            <Empty title="None in this range">
              Note a deployment or an incident, and every chart shows when it was.
            </Empty>
          ) : (
            <List annotations={annotations} can={can} onEdit={(of) => onView({ kind: "edit", of })} />
          )}
        </div>
      ) : view ? (
        <Form
          key={view.kind === "edit" ? view.of.id : "new"}
          of={view.kind === "edit" ? view.of : null}
          at={view.kind === "new" ? view.at : undefined}
          can={can}
          onDone={() => onView({ kind: "list" })}
        />
      ) : null}
    </Dialog>
  );
}

function List({
  annotations,
  can,
  onEdit,
}: {
  annotations: Annotation[];
  can: boolean;
  onEdit: (of: Annotation) => void;
}) {
  const zone = useZone((state) => state.zone);
  return (
    <ul className="flex flex-col divide-y divide-line">
      {annotations.map((one) => {
        const look = KIND_LOOKS[one.kind];
        return (
          <li key={one.id} className="flex items-start gap-2 py-2 text-sm">
            <Badge tone={look.tone}>
              <look.icon size={12} aria-hidden />
              {look.label}
            </Badge>
            <div className="min-w-0 flex-1">
              <p className="break-words">{one.text}</p>
              <p className="text-xs text-muted">
                {formatTime(one.at, zone)}
                {one.until ? ` – ${formatTime(one.until, zone)}` : null}
                {one.service ? ` · ${one.service}` : null} · {one.sharing === "public" ? "public" : "team"} · {one.by}
              </p>
            </div>
            <IconButton
              icon={Pencil}
              label={`Edit: ${one.text}`}
              size="sm"
              disabled={!can || one.own === false}
              onClick={() => onEdit(one)}
            />
          </li>
        );
      })}
    </ul>
  );
}

const FORM_TIME = "not a time: RFC 3339, YYYY-MM-DD HH:MM, or now-2h";

function Form({
  of,
  at: atFirst,
  can,
  onDone,
}: {
  of: Annotation | null;
  at?: string;
  can: boolean;
  onDone: () => void;
}) {
  const zone = useZone((state) => state.zone);
  const all = useWhoAmI().data?.all_tenants ?? true;
  const queries = useQueryClient();
  const [kind, setKind] = useState<AnnotationKind>(of?.kind ?? "deployment");
  const [at, setAt] = useState(of?.at ?? atFirst ?? "now");
  const [until, setUntil] = useState(of?.until ?? "");
  const [text, setText] = useState(of?.text ?? "");
  const [service, setService] = useState(of?.service ?? "");
  const [tags, setTags] = useState(of?.tags.join(", ") ?? "");
  const [sharing, setSharing] = useState<Annotation["sharing"]>(of?.sharing ?? "team");
  const [sure, setSure] = useState(false);
  const now = Date.now();
  const [start, end] = [resolveTime(at, now), until.trim() ? resolveTime(until, now) : null];
  const wrongEnd =
    until.trim() && (end === null ? FORM_TIME : start !== null && end < start ? "is before the start" : undefined);
  const done = (words: string): void => {
    void queries.invalidateQueries({ queryKey: ["annotations"] });
    toast.ok(words);
    onDone();
  };
  const save = useMutation({
    mutationFn: (content: AnnotationContent) => (of ? replaceAnnotation(of, content) : addAnnotation(content)),
    onSuccess: () => done(of ? "Annotation changed" : "Annotation added"),
  });
  const remove = useMutation({
    mutationFn: () => deleteAnnotation(of?.id ?? ""),
    onSuccess: () => done("Annotation deleted"),
  });
  const readOnly = !can || of?.own === false;
  const fine = start !== null && !wrongEnd && text.trim() !== "" && !readOnly;
  // A time that was not touched keeps its nanoseconds.
  const exact = (written: string, ms: number | null): string =>
    /^now/.test(written.trim()) || Number.isNaN(Date.parse(written)) || ms === null
      ? toRfc3339(ms ?? now)
      : written.includes("T")
        ? written
        : toRfc3339(ms);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    if (!fine) return;
    save.mutate({
      kind,
      at: exact(at, start),
      until: until.trim() ? exact(until, end) : null,
      text: text.trim(),
      service: service.trim() || null,
      tags: wordsOf(tags),
      sharing,
    });
  };
  const failure = save.error ?? remove.error;
  return (
    <form onSubmit={submit} className="flex flex-col gap-3">
      <Segmented
        label="Kind"
        value={kind}
        onChange={setKind}
        options={ANNOTATION_KINDS.map((value) => ({ value, label: KIND_LOOKS[value].label }))}
      />
      <Field label="What happened" error={text.trim() ? undefined : "must not be empty"}>
        {(ids) => (
          <TextArea
            {...ids}
            autoFocus
            maxLength={2000}
            readOnly={readOnly}
            value={text}
            onChange={(event) => setText(event.target.value)}
          />
        )}
      </Field>
      <div className="grid gap-3 sm:grid-cols-2">
        <Field
          label={`At (${zoneName(zone)})`}
          error={start === null ? FORM_TIME : undefined}
          hint={formatTime(start, zone)}
        >
          {(ids) => <Input {...ids} value={at} onChange={(event) => setAt(event.target.value)} />}
        </Field>
        <Field
          label="Until"
          error={wrongEnd || undefined}
          hint={end === null ? "Empty: a moment." : formatTime(end, zone)}
        >
          {(ids) => <Input {...ids} value={until} onChange={(event) => setUntil(event.target.value)} />}
        </Field>
        <Field label="Service" hint="Empty: of everything.">
          {(ids) => (
            <Input {...ids} maxLength={200} value={service} onChange={(event) => setService(event.target.value)} />
          )}
        </Field>
        <Field label="Tags" hint="With commas between.">
          {(ids) => <Input {...ids} value={tags} onChange={(event) => setTags(event.target.value)} />}
        </Field>
      </div>
      <Field
        label="Who sees it"
        hint={all ? undefined : "Public ones are made by those who may speak for every tenant."}
      >
        {(ids) => (
          <Select
            {...ids}
            className="w-full"
            value={sharing}
            onChange={(event) => setSharing(event.target.value === "public" ? "public" : "team")}
            options={[
              { value: "team", label: "The team: readers of this tenant" },
              { value: "public", label: "Public: readers of every tenant", disabled: !all },
            ]}
          />
        )}
      </Field>
      {failure ? (
        <p role="alert" className="text-sm text-critical">
          {asApiError(failure).detail}
        </p>
      ) : null}
      <div className="flex flex-wrap justify-end gap-2">
        {of && !readOnly ? (
          <Button
            kind="danger"
            icon={Trash2}
            busy={remove.isPending}
            className="mr-auto"
            onClick={() => (sure ? remove.mutate() : setSure(true))}
            onBlur={() => setSure(false)}
          >
            {sure ? "Delete for good?" : "Delete"}
          </Button>
        ) : null}
        <Button onClick={onDone}>Cancel</Button>
        <Button
          kind="primary"
          type="submit"
          busy={save.isPending}
          disabled={!fine}
          title={readOnly ? NO_RIGHT : undefined}
        >
          {of ? "Change" : "Add"}
        </Button>
      </div>
    </form>
  );
}
