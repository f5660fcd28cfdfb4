import { type FormEvent, useState } from "react";
import type { TimeRange } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Field, Input, TextArea } from "@/ui/Field";
import { toast } from "@/ui/Toasts";
import { useSavedQueries, useSaveQuery } from "../api";
import type { Asked } from "../question";

interface Props {
  asked: Asked;
  range: TimeRange;
  open: boolean;
  onOpenChange: (open: boolean) => void;
}

/** Gives the question a name. One of that name is replaced, which the button says before it is pressed. */
export function SaveDialog({ asked, range, open, onOpenChange }: Props) {
  const [name, setName] = useState("");
  const [description, setDescription] = useState("");
  const saved = useSavedQueries(open);
  const save = useSaveQuery();
  const replaces = saved.data?.find((one) => one.name.toLowerCase() === name.trim().toLowerCase());
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    if (!name.trim()) return;
    save.mutate(
      {
        replaces,
        query: {
          name: name.trim(),
          description: description.trim(),
          language: asked.language,
          query: asked.query,
          ...range,
          view: { columns: asked.columns, order: asked.order, tab: asked.view, viz: asked.viz },
        },
      },
      {
        onSuccess: (done) => {
          toast.ok(`Saved as “${done.name}”`);
          onOpenChange(false);
        },
        onError: toast.failed,
      },
    );
  };
  return (
    <Dialog open={open} onOpenChange={onOpenChange} title="Save this question">
      <form onSubmit={submit} className="flex flex-col gap-3">
        <p className="rounded-md border border-line bg-bg px-2 py-1.5 font-mono text-xs break-all">
          {asked.query || "*"}
        </p>
        <Field
          label="Name"
          hint={
            replaces ? "There is one of this name: it will be replaced." : "Everyone of this tenant finds it by this."
          }
        >
          {(ids) => <Input {...ids} autoFocus value={name} onChange={(event) => setName(event.target.value)} />}
        </Field>
        <Field label="What it is for">
          {(ids) => <TextArea {...ids} value={description} onChange={(event) => setDescription(event.target.value)} />}
        </Field>
        <Button kind="primary" type="submit" disabled={!name.trim()} busy={save.isPending} className="self-end">
          {replaces ? "Replace" : "Save"}
        </Button>
      </form>
    </Dialog>
  );
}
