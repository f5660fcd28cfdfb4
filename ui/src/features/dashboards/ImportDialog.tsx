/** Takes a dashboard from a file or from a text, and says what is wrong with it. */
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { Upload } from "lucide-react";
import { useMemo, useRef, useState } from "react";
import { asApiError } from "@/api/problem";
import { formatNumber } from "@/lib/format";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Field, TextArea } from "@/ui/Field";
import { toast } from "@/ui/Toasts";
import { addDashboard, remember } from "./api";
import { readFile } from "./files";

export function ImportDialog({ open, onClose }: { open: boolean; onClose: () => void }) {
  const [text, setText] = useState("");
  const file = useRef<HTMLInputElement>(null);
  const read = useMemo(() => (text.trim() ? readFile(text) : null), [text]);
  const queries = useQueryClient();
  const navigate = useNavigate();
  const add = useMutation({
    mutationFn: addDashboard,
    onSuccess: (made) => {
      remember(queries, made);
      toast.ok(`“${made.title}” is imported`);
      close();
      void navigate({ to: "/dashboards/$id", params: { id: made.id } });
    },
  });
  const close = (): void => {
    setText("");
    add.reset();
    onClose();
  };
  const content = read?.content ?? null;
  return (
    <Dialog
      open={open}
      onOpenChange={(next) => !next && close()}
      title="Import a dashboard"
      description="A file that was exported here, or a spec written by hand."
      footer={
        <>
          <Button onClick={close}>Cancel</Button>
          <Button
            kind="primary"
            disabled={!content}
            busy={add.isPending}
            onClick={() => content && add.mutate(content)}
          >
            Import
          </Button>
        </>
      }
    >
      <div className="flex flex-col gap-3">
        <div>
          <input
            ref={file}
            type="file"
            accept=".json,application/json"
            aria-label="File"
            className="sr-only"
            tabIndex={-1}
            onChange={(event) => {
              const [chosen] = event.target.files ?? [];
              if (chosen) void chosen.text().then(setText);
              event.target.value = "";
            }}
          />
          <Button icon={Upload} onClick={() => file.current?.click()}>
            Choose a file
          </Button>
        </div>
        <Field label="Or its text">
          {(ids) => (
            <TextArea
              {...ids}
              className="min-h-48 font-mono text-xs"
              placeholder='{"title": "…", "spec": {"panels": […]}}'
              value={text}
              onChange={(event) => setText(event.target.value)}
            />
          )}
        </Field>
        {content ? (
          <p role="status" className="text-sm text-muted">
            “{content.title}”: {formatNumber(content.spec.panels.length)} panels,{" "}
            {formatNumber(content.spec.variables.length)} variables.
          </p>
        ) : null}
        {read && !content ? (
          <div role="alert" className="text-sm">
            <p className="text-critical">It cannot be read:</p>
            <ul className="list-disc pl-5">
              {read.mistakes.map((mistake) => (
                <li key={mistake.at + mistake.reason}>
                  {mistake.at ? <code className="font-mono text-xs">{mistake.at}</code> : "The text"} {mistake.reason}
                </li>
              ))}
            </ul>
          </div>
        ) : null}
        {add.isError ? (
          <p role="alert" className="text-sm text-critical">
            {asApiError(add.error).detail}
          </p>
        ) : null}
      </div>
    </Dialog>
  );
}
