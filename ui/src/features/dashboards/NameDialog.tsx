/** Asks for title, folder and tags of a dashboard: for a new one, and for a copy. */
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { type FormEvent, useId, useState } from "react";
import { asApiError } from "@/api/problem";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Field, Input } from "@/ui/Field";
import { toast } from "@/ui/Toasts";
import { addDashboard, remember } from "./api";
import { wordsOf } from "./fields";
import type { DashboardContent } from "./spec";

interface Props {
  /** What is kept under the new name; null closes. */
  content: DashboardContent | null;
  heading: string;
  folders?: string[];
  /** Opens the new one for editing. */
  edit?: boolean;
  onClose: () => void;
}

export function NameDialog({ content, heading, folders = [], edit = true, onClose }: Props) {
  return (
    <Dialog open={content !== null} onOpenChange={(open) => !open && onClose()} title={heading}>
      {content ? <Form content={content} folders={folders} edit={edit} onClose={onClose} /> : null}
    </Dialog>
  );
}

function Form({
  content,
  folders,
  edit,
  onClose,
}: {
  content: DashboardContent;
  folders: string[];
  edit: boolean;
  onClose: () => void;
}) {
  const [title, setTitle] = useState(content.title);
  const [folder, setFolder] = useState(content.folder);
  const [tags, setTags] = useState(content.tags.join(", "));
  const queries = useQueryClient();
  const navigate = useNavigate();
  const list = useId();
  const add = useMutation({
    mutationFn: () => addDashboard({ ...content, title, folder: folder.trim(), tags: wordsOf(tags) }),
    onSuccess: (made) => {
      remember(queries, made);
      toast.ok(`“${made.title}” is kept`);
      onClose();
      void navigate({ to: "/dashboards/$id", params: { id: made.id }, search: (edit ? { edit: "1" } : {}) as never });
    },
  });
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    if (title.trim()) add.mutate();
  };
  return (
    <form onSubmit={submit} className="flex flex-col gap-3">
      <Field label="Title" error={title.trim() ? undefined : "must not be empty"}>
        {(ids) => (
          <Input {...ids} autoFocus maxLength={200} value={title} onChange={(event) => setTitle(event.target.value)} />
        )}
      </Field>
      <Field label="Folder" hint="Where to file it; empty: nowhere.">
        {(ids) => (
          <Input
            {...ids}
            maxLength={100}
            list={list}
            value={folder}
            onChange={(event) => setFolder(event.target.value)}
          />
        )}
      </Field>
      <datalist id={list}>
        {folders.map((name) => (
          <option key={name} value={name} />
        ))}
      </datalist>
      <Field label="Tags" hint="Words to find it by, with commas between.">
        {(ids) => <Input {...ids} value={tags} onChange={(event) => setTags(event.target.value)} />}
      </Field>
      {add.isError ? (
        <p role="alert" className="text-sm text-critical">
          {asApiError(add.error).detail}
        </p>
      ) : null}
      <div className="flex justify-end gap-2">
        <Button onClick={onClose}>Cancel</Button>
        <Button kind="primary" type="submit" busy={add.isPending} disabled={!title.trim()}>
          Keep it
        </Button>
      </div>
    </form>
  );
}
