import { useMutation } from "@tanstack/react-query";
import { Play } from "lucide-react";
import { useState } from "react";
import { asApiError } from "@/api/problem";
import { Button } from "@/ui/Button";
import { Field, Select, TextArea } from "@/ui/Field";
import { Badge } from "@/ui/Severity";
import { type Tested, testRule } from "./api";
import { AlertSample, headline } from "./SampleList";
import { SAMPLE_LINE } from "./template";

const SOURCES = [
  { value: "auto", label: "Any kind of lines" },
  { value: "syslog", label: "syslog" },
  { value: "access", label: "access log" },
  { value: "logfmt", label: "logfmt" },
  { value: "plain", label: "plain text" },
  { value: "ndjson", label: "JSON records" },
];

/** Lines pasted in: which the rule matches, by what, and what would have been told. */
export function TestTab({ yaml, ready }: { yaml: string; ready: boolean }) {
  const [text, setText] = useState("");
  const [source, setSource] = useState("auto");
  const asked = { yaml, text, source };
  const test = useMutation({ mutationFn: (question: typeof asked) => testRule(question) });
  const matched = test.data?.records.filter((record) => record.matched.length > 0).length ?? 0;
  const stale = test.variables && JSON.stringify(test.variables) !== JSON.stringify(asked);
  return (
    <div className="flex flex-col gap-3 pt-3">
      <Field label="Lines or JSON records" hint="At most 1,000; they are not stored.">
        {(ids) => (
          <TextArea
            {...ids}
            className="font-mono text-xs"
            value={text}
            onChange={(event) => setText(event.target.value)}
            placeholder={SAMPLE_LINE}
          />
        )}
      </Field>
      <div className="flex flex-wrap items-center gap-2">
        <Select
          aria-label="What the lines are"
          value={source}
          onChange={(event) => setSource(event.target.value)}
          options={SOURCES}
        />
        <Button
          icon={Play}
          busy={test.isPending}
          disabled={!ready || text.trim() === ""}
          onClick={() => test.mutate(asked)}
        >
          Try it
        </Button>
        <span role="status" className="text-sm text-muted">
          {test.data?.ok && !test.isPending
            ? `${matched} of ${test.data.records.length} match · ${test.data.alerts.length} ${test.data.alerts.length === 1 ? "alert" : "alerts"}${stale ? " · changed since" : ""}`
            : ready
              ? ""
              : "The rule must load first."}
        </span>
      </div>
      {test.isError ? (
        <p role="alert" className="text-sm text-critical">
          {asApiError(test.error).detail}
        </p>
      ) : null}
      {test.data && !test.data.ok ? (
        <p role="alert" className="text-sm text-critical">
          {test.data.diagnostics[0]?.message ?? "the rule does not load"}
        </p>
      ) : null}
      {test.data?.ok ? <Outcome tested={test.data} /> : null}
    </div>
  );
}

function Outcome({ tested }: { tested: Tested }) {
  return (
    <div className="flex flex-col gap-3 text-sm">
      {tested.alerts.length > 0 ? (
        <section>
          <h3 className="font-semibold">It would raise</h3>
          <AlertSample items={tested.alerts} />
        </section>
      ) : null}
      <ul className="flex flex-col divide-y divide-line/60" aria-label="Lines tried">
        {tested.records.map((record) => (
          <li key={record.index} className="flex items-start gap-2 py-1.5">
            <Badge tone={record.matched.length > 0 ? "critical" : "quiet"}>
              {record.matched.length > 0 ? "matches" : "no match"}
            </Badge>
            <div className="min-w-0">
              <p className="font-mono text-xs break-words">{headline(record.record)}</p>
              {record.matched.flatMap((match) =>
                match.why.map((ground, index) => (
                  // biome-ignore lint/suspicious/noArrayIndexKey: grounds do not reorder
                  <p key={`${match.rule}${index}`} className="text-xs break-words text-muted">
                    because <code className="font-mono">{ground.field ?? "its text"}</code>{" "}
                    {ground.test ? (
                      <>
                        passes <code className="font-mono">{ground.test}</code>
                      </>
                    ) : ground.value === null || ground.value === undefined ? (
                      "is as the rule wants"
                    ) : (
                      <>
                        is <code className="font-mono">{ground.value}</code>
                      </>
                    )}
                  </p>
                )),
              )}
            </div>
          </li>
        ))}
        {tested.rejected.map((fault) => (
          <li key={`${fault.index}${fault.field}${fault.reason}`} className="py-1.5 text-xs text-warning">
            record {fault.index === null || fault.index === undefined ? "?" : fault.index + 1} was not understood:{" "}
            {fault.field ? <code className="font-mono">{fault.field} </code> : null}
            {fault.reason}
          </li>
        ))}
      </ul>
    </div>
  );
}
