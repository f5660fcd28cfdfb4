import { Link } from "@tanstack/react-router";
import { Plus, X } from "lucide-react";
import { type FormEvent, useState } from "react";
import { Button, IconButton } from "@/ui/Button";
import { Card } from "@/ui/Card";
import { Dialog } from "@/ui/Dialog";
import { Field, Input } from "@/ui/Field";
import { Sign } from "@/ui/Severity";
import { Ago } from "../alerts/list/Cells";
import type { AlertRow } from "../alerts/model";

const ID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/i;

/** The alerts of an incident; some can be added, others taken out. */
export function IncidentAlerts({
  number,
  rows,
  count,
  disabled,
  onAdd,
  onRemove,
}: {
  number: number;
  rows: readonly AlertRow[];
  count: number;
  disabled: string | null;
  onAdd: (id: string) => Promise<boolean>;
  onRemove: (row: AlertRow) => void;
}) {
  const [adding, setAdding] = useState(false);
  const [leaving, setLeaving] = useState<AlertRow | null>(null);
  return (
    <Card
      title="Alerts"
      hint={`${count}`}
      padded={false}
      actions={
        <>
          <Link
            to="/alerts"
            search={{ incident: String(number), status: "all" } as never}
            className="px-1 text-xs font-medium text-accent hover:underline"
          >
            In the list
          </Link>
          <Button
            size="sm"
            icon={Plus}
            disabled={disabled !== null}
            title={disabled ?? undefined}
            onClick={() => setAdding(true)}
          >
            Add
          </Button>
        </>
      }
    >
      <ul className="max-h-96 divide-y divide-line/60 overflow-auto">
        {rows.map((row) => (
          <li key={row.id} className="flex items-center gap-2 py-1 pr-1 pl-3 text-sm">
            <Sign of={row.severity} />
            <Link
              to="/alerts/$id"
              params={{ id: row.id }}
              className="min-w-0 flex-1 truncate hover:underline"
              title={row.summary}
            >
              <span className="font-medium">{row.title}</span>{" "}
              <span className="text-muted">{row.service ?? row.entity.value}</span>
            </Link>
            <Sign of={row.status} />
            <span className="text-xs text-faint">
              <Ago time={row.raised_at} />
            </span>
            <IconButton
              icon={X}
              size="sm"
              label={`Take ${row.title} out of the incident`}
              disabled={disabled !== null}
              onClick={() => setLeaving(row)}
            />
          </li>
        ))}
      </ul>
      {adding ? <Add onClose={() => setAdding(false)} onAdd={onAdd} /> : null}
      <Dialog
        open={leaving !== null}
        onOpenChange={(open) => !open && setLeaving(null)}
        title="Take the alert out?"
        description={
          leaving
            ? `${leaving.title} (${leaving.service ?? leaving.entity.value}) leaves incident ${number}. The alert itself stays as it is.`
            : ""
        }
        footer={
          <>
            <Button onClick={() => setLeaving(null)}>Leave it in</Button>
            <Button
              kind="danger"
              onClick={() => {
                if (leaving) onRemove(leaving);
                setLeaving(null);
              }}
            >
              Take it out
            </Button>
          </>
        }
      >
        <p className="text-sm text-muted">{leaving?.summary}</p>
      </Dialog>
    </Card>
  );
}

function Add({ onClose, onAdd }: { onClose: () => void; onAdd: (id: string) => Promise<boolean> }) {
  const [text, setText] = useState("");
  const [fault, setFault] = useState<string | null>(null);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    const id = ID.exec(text)?.[0];
    if (!id) {
      setFault("holds no id of an alert");
      return;
    }
    void onAdd(id).then((taken) => taken && onClose());
  };
  return (
    <Dialog open onOpenChange={(open) => !open && onClose()} title="Add an alert">
      <form onSubmit={submit} className="flex flex-col gap-2">
        <Field label="Alert" error={fault} hint="Its id, or the address of its page.">
          {(ids) => <Input {...ids} autoFocus value={text} onChange={(event) => setText(event.target.value)} />}
        </Field>
        <Button kind="primary" type="submit" className="self-end">
          Add it
        </Button>
      </form>
    </Dialog>
  );
}
