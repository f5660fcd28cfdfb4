import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";
import type { TimeRange } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Field, Input, Select } from "@/ui/Field";
import { Failed } from "@/ui/States";
import { toast } from "@/ui/Toasts";
import type { VizKind } from "@/viz/Visualisation";
import { type Dashboard, getDashboard, postDashboard, putDashboard, useDashboards } from "../api";
import type { Run } from "../run/useRun";
import { KINDS, kindFor } from "../views/chart";
import { emptySpec, withPanel } from "./panel";

const NEW = "";

interface Props {
  run: Run;
  viz: string | undefined;
  range: TimeRange;
  open: boolean;
  onOpenChange: (open: boolean) => void;
}

/** Puts the answer onto a dashboard, one there is or a new one. A list of records becomes a chart of their number. */
export function AddToDashboard({ run, viz, range, open, onOpenChange }: Props) {
  const boards = useDashboards(open);
  const queries = useQueryClient();
  const navigate = useNavigate();
  const isTable = run.shape === "table";
  const query = isTable ? run.line : `${run.line ? `${run.line} ` : ""}| timechart count() by level`;
  const kind: VizKind = isTable
    ? (KINDS.find((one) => one === viz) ?? (run.answer ? kindFor(run.answer) : "table"))
    : "bar";
  const [title, setTitle] = useState("");
  const [board, setBoard] = useState(NEW);
  const [name, setName] = useState("");
  const own = (boards.data ?? []).filter((one) => !one.built_in);
  const add = useMutation({
    mutationFn: async (): Promise<Dashboard> => {
      const id = `p${crypto.randomUUID().slice(0, 8)}`;
      const panel = {
        title: title.trim(),
        query,
        language: run.language === "sql" ? ("sql" as const) : ("search" as const),
        viz: kind,
      };
      if (board === NEW) {
        return postDashboard({
          title: name.trim(),
          description: "",
          tags: [],
          folder: "",
          spec: withPanel(emptySpec(range), panel, id),
        });
      }
      // Read anew: its revision says whether someone else changed it meanwhile.
      const found = await getDashboard(board);
      return putDashboard({ ...found, spec: withPanel(found.spec, panel, id) });
    },
    onSuccess: (done) => {
      void queries.invalidateQueries({ queryKey: ["dashboards"] });
      onOpenChange(false);
      toast.ok(`Added to “${done.title}”`, {
        label: "Open",
        run: () => void navigate({ to: "/dashboards/$id", params: { id: done.id } }),
      });
    },
    onError: toast.failed,
  });
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    add.mutate();
  };
  const isReady = title.trim() !== "" && (board !== NEW || name.trim() !== "");
  return (
    <Dialog open={open} onOpenChange={onOpenChange} title="Add to a dashboard">
      {boards.isError ? (
        <Failed error={boards.error} onRetry={() => void boards.refetch()} />
      ) : (
        <form onSubmit={submit} className="flex flex-col gap-3">
          <p className="rounded-md border border-line bg-bg px-2 py-1.5 font-mono text-xs break-all">
            {query} <span className="text-faint">as {kind}</span>
          </p>
          <Field label="Title of the panel">
            {(ids) => <Input {...ids} autoFocus value={title} onChange={(event) => setTitle(event.target.value)} />}
          </Field>
          <Field label="Dashboard" hint={own.length === 0 ? "There is none of your own yet." : undefined}>
            {(ids) => (
              <Select
                {...ids}
                className="w-full"
                value={board}
                onChange={(event) => setBoard(event.target.value)}
                options={[
                  { value: NEW, label: "A new one" },
                  ...own.map((one) => ({ value: one.id, label: one.title })),
                ]}
              />
            )}
          </Field>
          {board === NEW ? (
            <Field label="Name of the new dashboard">
              {(ids) => <Input {...ids} value={name} onChange={(event) => setName(event.target.value)} />}
            </Field>
          ) : null}
          <Button kind="primary" type="submit" disabled={!isReady} busy={add.isPending} className="self-end">
            Add
          </Button>
        </form>
      )}
    </Dialog>
  );
}
