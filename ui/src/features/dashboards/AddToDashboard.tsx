/** Puts a query and the way it is drawn on a dashboard: one that is there, or a new one. For Explore and other pages. */
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";
import { ApiError } from "@/api/client";
import { asApiError } from "@/api/problem";
import { useCan } from "@/app/whoami";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Field, Input, Select } from "@/ui/Field";
import { toast } from "@/ui/Toasts";
import { addDashboard, fetchDashboard, remember, replaceDashboard, useDashboards } from "./api";
import { NO_RIGHT } from "./fields";
import { withPanel } from "./layout";
import { type Dashboard, emptySpec, freshId, type Panel, VIZ_KINDS } from "./spec";

interface Props {
  open: boolean;
  onClose: () => void;
  /** The panel, but for its id. */
  panel: Omit<Panel, "id">;
  /** The range a new dashboard opens with. */
  time?: { from: string; to: string };
}

export function AddToDashboard({ open, onClose, panel, time }: Props) {
  return (
    <Dialog open={open} onOpenChange={(next) => !next && onClose()} title="Add to a dashboard">
      {open ? <Form onClose={onClose} panel={panel} time={time} /> : null}
    </Dialog>
  );
}

/** Somebody may save at the same moment: then it is added to what they saved. */
const TRIES = 3;

async function addTo(id: string, panel: Omit<Panel, "id">): Promise<Dashboard> {
  for (let nth = 1; ; nth += 1) {
    const now = await fetchDashboard(id);
    const size = VIZ_KINDS.find((kind) => kind.value === panel.viz) ?? { w: 12, h: 8 };
    const fresh = { ...panel, id: freshId(now.spec.panels.map((other) => other.id)) };
    try {
      return await replaceDashboard(id, now.revision, { ...now, spec: withPanel(now.spec, fresh, size) });
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== "revision_conflict" || nth === TRIES) throw error;
    }
  }
}

function Form({ onClose, panel, time }: Omit<Props, "open">) {
  const [title, setTitle] = useState(panel.title);
  const [target, setTarget] = useState("");
  const [name, setName] = useState("");
  const list = useDashboards();
  const can = useCan("alerts:write");
  const queries = useQueryClient();
  const navigate = useNavigate();
  const own = (list.data ?? []).filter((one) => !one.built_in);
  const add = useMutation({
    mutationFn: () => {
      const titled = { ...panel, title: title.trim() || panel.title };
      if (target) return addTo(target, titled);
      const spec = { ...emptySpec(), ...(time ? { time } : {}) };
      const size = VIZ_KINDS.find((kind) => kind.value === panel.viz) ?? { w: 12, h: 8 };
      return addDashboard({
        title: name,
        description: "",
        tags: [],
        folder: "",
        spec: withPanel(spec, { ...titled, id: "panel-1" }, size),
      });
    },
    onSuccess: (now) => {
      remember(queries, now);
      onClose();
      toast.ok(`Added to “${now.title}”`, {
        label: "Open",
        run: () => void navigate({ to: "/dashboards/$id", params: { id: now.id } }),
      });
    },
  });
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    add.mutate();
  };
  return (
    <form onSubmit={submit} className="flex flex-col gap-3">
      <Field label="Title of the panel">
        {(ids) => <Input {...ids} autoFocus value={title} onChange={(event) => setTitle(event.target.value)} />}
      </Field>
      <Field label="Dashboard" error={list.isError ? asApiError(list.error).detail : undefined}>
        {(ids) => (
          <Select
            {...ids}
            className="w-full"
            value={target}
            onChange={(event) => setTarget(event.target.value)}
            options={[
              { value: "", label: "A new one" },
              ...own.map((one) => ({ value: one.id, label: one.folder ? `${one.folder} / ${one.title}` : one.title })),
            ]}
          />
        )}
      </Field>
      {target === "" ? (
        <Field label="Title of the new dashboard">
          {(ids) => <Input {...ids} maxLength={200} value={name} onChange={(event) => setName(event.target.value)} />}
        </Field>
      ) : null}
      {add.isError ? (
        <p role="alert" className="text-sm text-critical">
          {asApiError(add.error).detail}
        </p>
      ) : null}
      <div className="flex justify-end gap-2">
        <Button onClick={onClose}>Cancel</Button>
        <Button
          kind="primary"
          type="submit"
          busy={add.isPending}
          disabled={!can || (target === "" && !name.trim())}
          title={can ? undefined : NO_RIGHT}
        >
          Add
        </Button>
      </div>
    </form>
  );
}
