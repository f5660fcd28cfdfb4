import { ThumbsDown, ThumbsUp } from "lucide-react";
import { useState } from "react";
import { formatTime, useZone } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Card } from "@/ui/Card";
import { Input } from "@/ui/Field";
import { giveFeedback } from "../api";
import type { AlertDetail, Feedback } from "../model";
import type { Change } from "./types";

/** Was it right? Detectors follow what people say. */
export function Judge({ alert, change, disabled }: { alert: AlertDetail; change: Change; disabled: string | null }) {
  const zone = useZone((state) => state.zone);
  const [note, setNote] = useState("");
  const say = (verdict: Feedback["verdict"]): void => {
    const words = note.trim() || undefined;
    const foreseen = { verdict, by: "you", at: new Date().toISOString(), note: words ?? null };
    void change(
      { feedback: foreseen },
      () => giveFeedback(alert.id, verdict, words),
      "Thank you: the detector takes it into account",
    ).then((taken) => taken && setNote(""));
  };
  const said = alert.feedback;
  return (
    <Card title="Was it right?">
      <div className="flex flex-col gap-2">
        <p className="text-xs text-muted">
          {said
            ? `${said.by} said ${said.verdict === "true_positive" ? "true" : "false"} positive, ${formatTime(said.at, zone, "minute")}${said.note ? `: ${said.note}` : ""}`
            : "From five answers on, thresholds follow them."}
        </p>
        <Input
          aria-label="Why it was right or not"
          placeholder="Why (optional)"
          value={note}
          maxLength={1000}
          disabled={disabled !== null}
          onChange={(event) => setNote(event.target.value)}
        />
        <div className="flex flex-wrap gap-1.5">
          <Button
            size="sm"
            icon={ThumbsUp}
            aria-pressed={said?.verdict === "true_positive"}
            className={said?.verdict === "true_positive" ? "border-ok text-ok" : undefined}
            disabled={disabled !== null}
            title={disabled ?? "It was so, and worth telling"}
            onClick={() => say("true_positive")}
          >
            True positive
          </Button>
          <Button
            size="sm"
            icon={ThumbsDown}
            aria-pressed={said?.verdict === "false_positive"}
            className={said?.verdict === "false_positive" ? "border-critical text-critical" : undefined}
            disabled={disabled !== null}
            title={disabled ?? "It was not so, or nobody needed to know"}
            onClick={() => say("false_positive")}
          >
            False positive
          </Button>
        </div>
      </div>
    </Card>
  );
}
