import { useState } from "react";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Field, Input } from "@/ui/Field";
import { useRunStep } from "./api";

const WORDS = {
  approve: { title: "Let it act?", go: "Approve", kind: "primary", told: "It begins at once, if the limits allow it." },
  reject: { title: "Reject it?", go: "Reject", kind: "danger", told: "Nothing is done. The alert stays." },
  cancel: {
    title: "Cancel the run?",
    go: "Cancel it",
    kind: "danger",
    told: "What has begun is ended or undone as the playbook says.",
  },
} as const;

/** Asks before a run is answered or stopped: what it is, what follows, a note for the trail. */
export function Answer({
  id,
  actions,
  step,
  onClose,
}: {
  id: string;
  actions: string[];
  step: keyof typeof WORDS;
  onClose: () => void;
}) {
  const [note, setNote] = useState("");
  const answer = useRunStep();
  const words = WORDS[step];
  return (
    <Dialog
      open
      onOpenChange={(open) => !open && onClose()}
      title={words.title}
      description={actions.join(" · ")}
      footer={
        <>
          <Button onClick={onClose}>Back</Button>
          <Button
            kind={words.kind}
            busy={answer.isPending}
            onClick={() => answer.mutate({ id, step, note: note.trim() }, { onSuccess: onClose })}
          >
            {words.go}
          </Button>
        </>
      }
    >
      <div className="flex flex-col gap-3">
        <p className="text-sm text-muted">{words.told}</p>
        <Field label="Note" hint="Stands in the run and in the audit trail.">
          {(ids) => (
            <Input {...ids} autoFocus value={note} onChange={(event) => setNote(event.target.value)} maxLength={500} />
          )}
        </Field>
      </div>
    </Dialog>
  );
}
