import { useMutation } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { requestJson } from "@/api/client";
import { asApiError } from "@/api/problem";
import { formatNumber } from "@/lib/format";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Field, Input } from "@/ui/Field";

interface Erased {
  erased: number;
  /** Records that were in memory; they are written out first, and erased with the others. */
  in_memory: number;
  remaining: number;
  segments: unknown[];
  not_erased: unknown[];
}

/** Erases what passes a filter, in every tier. Counts first; the filter is typed again before anything goes. */
export function Erase({ onClose }: { onClose: () => void }) {
  const [filter, setFilter] = useState("");
  const [again, setAgain] = useState("");
  const run = useMutation({
    mutationFn: (dry_run: boolean) =>
      requestJson<Erased>("/api/v1/erase", { json: { filter: filter.trim(), dataset: "logs", dry_run } }).then(
        (report) => ({ dry_run, report }),
      ),
  });
  const counted = run.data?.dry_run ? run.data.report : null;
  const done = run.data && !run.data.dry_run ? run.data.report : null;
  const problem = run.isError ? asApiError(run.error) : null;
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    run.mutate(true);
  };
  return (
    <Dialog
      open
      wide
      onOpenChange={(open) => !open && onClose()}
      title="Erase records"
      description="For a data subject: in every tier, for good. The audit trail keeps who erased what, not what was erased."
    >
      <form onSubmit={submit} className="flex flex-col gap-3">
        <Field
          label="Which log records"
          hint="A search line without pipes, such as user_id:42."
          error={problem?.detail}
        >
          {(ids) => (
            <Input
              {...ids}
              autoFocus
              className="font-mono"
              value={filter}
              onChange={(event) => {
                setFilter(event.target.value);
                setAgain("");
                run.reset();
              }}
            />
          )}
        </Field>
        <div className="flex justify-end gap-2">
          <Button onClick={onClose}>{done ? "Close" : "Back"}</Button>
          <Button type="submit" kind="primary" busy={run.isPending} disabled={filter.trim() === "" || done !== null}>
            Count them
          </Button>
        </div>
      </form>
      {counted ? (
        <div className="mt-4 flex flex-col gap-3 rounded-md border border-critical p-3">
          <p className="text-sm">
            <strong className="tnum">{recordsText(rowsOf(counted))}</strong>, {formatNumber(counted.in_memory)} of them
            still in memory, pass the filter. <span>Nothing has been erased yet.</span>
          </p>
          <Field label="Type the filter again to erase them">
            {(ids) => (
              <Input {...ids} className="font-mono" value={again} onChange={(event) => setAgain(event.target.value)} />
            )}
          </Field>
          <Button
            kind="danger"
            className="self-end"
            busy={run.isPending}
            disabled={again.trim() !== filter.trim() || rowsOf(counted) === 0}
            onClick={() => run.mutate(false)}
          >
            Erase {recordsText(rowsOf(counted))}
          </Button>
        </div>
      ) : null}
      {done ? (
        <p role="status" className="mt-4 text-sm">
          {recordsText(done.erased)} {done.erased === 1 ? "is" : "are"} erased; {formatNumber(done.remaining)} pass the
          filter now.
          {done.not_erased.length > 0 ? ` ${done.not_erased.length} damaged segments were left as they are.` : ""}
        </p>
      ) : null}
    </Dialog>
  );
}

function recordsText(count: number): string {
  return `${formatNumber(count)} ${count === 1 ? "record" : "records"}`;
}

function rowsOf(report: Erased): number {
  return report.erased + report.in_memory;
}
