import { OctagonPause, Play } from "lucide-react";
import { useState } from "react";
import { useCan } from "@/app/whoami";
import { formatTime, useZone } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Field, Input } from "@/ui/Field";
import { useKillSwitch, useResponseStatus, useTurnKillSwitch } from "./api";

/** Stops everything that acts, at once; asks before it does and says what it stops. */
export function KillSwitch() {
  const { data } = useKillSwitch();
  const status = useResponseStatus();
  const turn = useTurnKillSwitch();
  const zone = useZone((state) => state.zone);
  const can = useCan("alerts:write");
  const [open, setOpen] = useState(false);
  const [note, setNote] = useState("");
  if (!data) return null;
  const on = data.on;
  return (
    <>
      {on ? (
        <span role="status" className="rounded-md bg-critical-soft px-2 py-1 text-sm font-medium text-critical">
          Stopped by {data.by} at {formatTime(data.at, zone, "minute")}
          {data.note ? `: ${data.note}` : ""}
        </span>
      ) : null}
      <Button
        kind={on ? "plain" : "danger"}
        icon={on ? Play : OctagonPause}
        disabled={!can}
        title={can ? undefined : "Needs the scope alerts:write"}
        onClick={() => setOpen(true)}
      >
        {on ? "Let playbooks act again" : "Kill switch"}
      </Button>
      <Dialog
        open={open}
        onOpenChange={setOpen}
        title={on ? "Let playbooks act again?" : "Stop everything that acts?"}
        footer={
          <>
            <Button onClick={() => setOpen(false)}>Leave it</Button>
            <Button
              kind={on ? "primary" : "danger"}
              busy={turn.isPending}
              onClick={() =>
                turn.mutate(
                  { on: !on, note },
                  {
                    onSuccess: () => {
                      setOpen(false);
                      setNote("");
                    },
                  },
                )
              }
            >
              {on ? "Let them act" : "Stop everything"}
            </Button>
          </>
        }
      >
        <div className="flex flex-col gap-3">
          <p className="text-sm text-muted">
            {on
              ? "Playbooks will act on alerts as their modes allow. What was due meanwhile is not caught up."
              : `No playbook of any tenant begins a new action until somebody turns this off: ${status.data?.runs_live ?? 0} runs are under way and ${status.data?.actions_waiting ?? 0} actions wait. What has begun on a target ends as it was begun.`}
          </p>
          <Field label="Why" hint="Stands in the audit trail.">
            {(ids) => <Input {...ids} value={note} onChange={(event) => setNote(event.target.value)} maxLength={500} />}
          </Field>
        </div>
      </Dialog>
    </>
  );
}
