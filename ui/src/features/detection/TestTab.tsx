import { useMutation } from "@tanstack/react-query";
import { Play } from "lucide-react";
import { useState } from "react";
import { asApiError } from "@/api/problem";
import { Button } from "@/ui/Button";
import { Field, Select, TextArea } from "@/ui/Field";
import { Badge, SeverityBadge } from "@/ui/Severity";
import { type Tested, testRule } from "./api";
import { headline } from "./SampleList";

const SOURCES = ["auto", "syslog", "access", "logfmt", "plain", "ndjson"];

/** Lines pasted in: which the rule matches, by what, and what would have been told. */
export function TestTab({ yaml, ready }: { yaml: string; ready: boolean }) {
  const [text, setText] = useState("");
  const [source, setSource] = useState("auto");
  const test = useMutation({ mutationFn: () => testRule({ yaml, text, source }) });
  return (
    <div className="flex flex-col gap-3 pt-3">
      <Field label="Lines or JSON records" hint="At most 1,000; they are not stored.">
        {(ids) => (
          <TextArea
            {...ids}
            className="font-mono text-xs"
            value={text}
            onChange={(event) => setText(event.target.value)}
            placeholder="Nov 27 10:00:01 host sshd[812]: Failed password for root from 203.0.113.5 port 4711 ssh2"
          />
        )}
      </Field>
      <div className="flex items-center gap-2">
        <Select
          aria-label="What the lines are"
          value={source}
          onChange={(event) => setSource(event.target.value)}
          options={SOURCES.map((value) => ({ value, label: value }))}
        />
        <Button icon={Play} busy={test.isPending} disabled={!ready || text.trim() === ""} onClick={() => test.mutate()}>
          Try it
        </Button>
        {test.data ? (
          <span className="text-sm text-muted">
            {test.data.records.filter((record) => record.matched.length > 0).length} of {test.data.records.length} match
            · {test.data.alerts.length} alerts
          </span>
        ) : null}
      </div>
      {test.isError ? (
        <p role="alert" className="text-sm text-critical">
          {asApiError(test.error).detail}
        </p>
      ) : null}
      {test.data ? <Outcome tested={test.data} /> : null}
    </div>
  );
}

function Outcome({ tested }: { tested: Tested }) {
  return (
    <div className="flex flex-col gap-3 text-sm">
      {tested.alerts.map((alert) => (
        <p key={`${alert.rule}${alert.time}${alert.entity.value}`} className="flex items-center gap-2">
          <SeverityBadge of={alert.severity} /> {alert.summary}
        </p>
      ))}
      <ul className="flex flex-col divide-y divide-line/60">
        {tested.records.map((record) => (
          <li key={record.index} className="flex items-start gap-2 py-1.5">
            <Badge tone={record.matched.length > 0 ? "critical" : "quiet"}>
              {record.matched.length > 0 ? "matches" : "no match"}
            </Badge>
            <div className="min-w-0">
              <p className="truncate font-mono text-xs">{headline(record.record)}</p>
              {record.matched.flatMap((match) =>
                match.why.map((ground) => (
                  <p key={`${match.rule}${ground.field}${ground.value}${ground.test}`} className="text-xs text-muted">
                    because <code className="font-mono">{ground.field ?? "its text"}</code>{" "}
                    {ground.value === null ? "is as the rule wants" : "is "}
                    {ground.value === null ? null : <code className="font-mono">{ground.value}</code>}
                  </p>
                )),
              )}
            </div>
          </li>
        ))}
        {tested.rejected.map((fault) => (
          <li key={`${fault.index}${fault.reason}`} className="py-1.5 text-xs text-warning">
            record {fault.index ?? "?"} was not understood: {fault.reason}
          </li>
        ))}
      </ul>
    </div>
  );
}
