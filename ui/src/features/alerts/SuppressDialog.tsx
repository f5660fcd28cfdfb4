import { BellOff } from "lucide-react";
import { type FormEvent, useId, useState } from "react";
import { formatTime, useZone, zoneName } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Field, Input, Segmented, TextArea } from "@/ui/Field";
import { localInput, localTime, parseDuration, writeDuration } from "./duration";
import { alerts, type StepWords } from "./steps";

type Choice = "1h" | "4h" | "1d" | "custom" | "until" | "open";

const HOUR_MS = 3_600_000;

/** Asks for how long and why before alerts are suppressed. */
export function SuppressDialog({
  count,
  subject,
  onClose,
  onSuppress,
}: {
  count: number;
  /** What is suppressed, in words. */
  subject: string;
  onClose: () => void;
  onSuppress: (words: StepWords) => void;
}) {
  const form = useId();
  const zone = useZone((state) => state.zone);
  const [choice, setChoice] = useState<Choice>("1h");
  const [custom, setCustom] = useState("2h");
  const [until, setUntil] = useState(() => localInput(Date.now() + 8 * HOUR_MS));
  const [note, setNote] = useState("");
  const end = endOf(choice, custom, until, Date.now());
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    if (end.fault) return;
    const words: StepWords = note.trim() ? { note: note.trim() } : {};
    if (choice === "until") words.until = localTime(until) ?? undefined;
    else if (choice !== "open") words.for = writeDuration(parseDuration(choice === "custom" ? custom : choice) ?? 3600);
    onSuppress(words);
  };
  return (
    <Dialog
      open
      onOpenChange={(open) => !open && onClose()}
      title={Number.isNaN(count) ? "Suppress all that match" : `Suppress ${alerts(count)}`}
      description={subject}
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" type="submit" form={form} icon={BellOff} disabled={Boolean(end.fault)}>
            Suppress
          </Button>
        </>
      }
    >
      <form id={form} onSubmit={submit} className="flex flex-col gap-3">
        <div className="flex flex-col gap-1">
          <span className="text-xs font-medium text-muted">For how long</span>
          <div className="overflow-x-auto">
            <Segmented<Choice>
              label="For how long"
              value={choice}
              onChange={setChoice}
              options={[
                { value: "1h", label: "1 hour" },
                { value: "4h", label: "4 hours" },
                { value: "1d", label: "1 day" },
                { value: "custom", label: "Other" },
                { value: "until", label: "Until…" },
                { value: "open", label: "Until reopened" },
              ]}
            />
          </div>
        </div>
        {choice === "custom" ? (
          <Field label="Duration" error={end.fault} hint="Such as 90m, 2h 30m, 3d.">
            {(ids) => <Input {...ids} value={custom} onChange={(event) => setCustom(event.target.value)} />}
          </Field>
        ) : null}
        {choice === "until" ? (
          <Field label={`Until (${zoneName("local")})`} error={end.fault}>
            {(ids) => (
              <Input {...ids} type="datetime-local" value={until} onChange={(event) => setUntil(event.target.value)} />
            )}
          </Field>
        ) : null}
        <p className="text-sm text-muted">
          {end.at
            ? `It goes on counting and tells nobody; it is open again at ${formatTime(end.at, zone, "minute")} (${zoneName(zone)}).`
            : "It goes on counting and tells nobody, until somebody reopens it."}
        </p>
        <Field label="Note" hint="Kept in the history of the alert.">
          {(ids) => (
            <TextArea
              {...ids}
              autoFocus
              rows={3}
              maxLength={2000}
              value={note}
              onChange={(event) => setNote(event.target.value)}
            />
          )}
        </Field>
      </form>
    </Dialog>
  );
}

function endOf(choice: Choice, custom: string, until: string, now: number): { at: number | null; fault?: string } {
  if (choice === "open") return { at: null };
  if (choice === "until") {
    const time = localTime(until);
    if (!time) return { at: null, fault: "is not a time" };
    const at = Date.parse(time);
    return at > now ? { at } : { at: null, fault: "is in the past" };
  }
  const seconds = parseDuration(choice === "custom" ? custom : choice);
  return seconds ? { at: now + seconds * 1000 } : { at: null, fault: "is not a duration such as 90m, up to a year" };
}
