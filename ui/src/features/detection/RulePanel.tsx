/** One rule: its text, checked while it is written; tried on lines and on what is stored; kept, switched, removed. */
import { Save, Trash2 } from "lucide-react";
import { useEffect, useMemo, useState } from "react";
import { asApiError } from "@/api/problem";
import { useCan } from "@/app/whoami";
import { formatTime, useZone } from "@/lib/time";
import { Button } from "@/ui/Button";
import { CodeEditor, type Mistake } from "@/ui/CodeEditor";
import { Dialog } from "@/ui/Dialog";
import { Segmented } from "@/ui/Field";
import { Badge } from "@/ui/Severity";
import { Failed, Skeleton } from "@/ui/States";
import { Tabs } from "@/ui/Tabs";
import { type Checked, checkRule, type Rule, type RuleMode, type RuleSource, useRule, useRuleChange } from "./api";
import { BacktestTab } from "./BacktestTab";
import { TestTab } from "./TestTab";
import { NEW_RULE } from "./template";

interface Props {
  /** `new` begins one. */
  id: string;
  rules: Rule[];
  onClose: () => void;
  onSaved: (id: string) => void;
}

export function RulePanel({ id, rules, onClose, onSaved }: Props) {
  const isNew = id === "new";
  const source = useRule(isNew ? null : id);
  const rule = rules.find((one) => one.id === id) ?? source.data?.rule ?? null;
  return (
    <Dialog
      side
      wide
      open
      onOpenChange={(open) => !open && onClose()}
      title={isNew ? "New rule" : (rule?.title ?? id)}
      description={
        isNew ? "Sigma, or Heimdall's own kind; it judges this tenant's records as they arrive." : rule?.description
      }
    >
      {isNew ? (
        <Editor source={null} rule={null} onClose={onClose} onSaved={onSaved} />
      ) : source.data ? (
        <Editor key={source.data.revision} source={source.data} rule={rule} onClose={onClose} onSaved={onSaved} />
      ) : source.isError ? (
        <Failed error={source.error} onRetry={() => void source.refetch()} />
      ) : (
        <Skeleton rows={10} />
      )}
    </Dialog>
  );
}

/** What the server says of a text, half a second after it was last changed. */
function useCheck(yaml: string): Checked | null {
  const [checked, setChecked] = useState<Checked | null>(null);
  useEffect(() => {
    const abort = new AbortController();
    const timer = setTimeout(() => {
      checkRule(yaml, abort.signal).then(setChecked, (error: unknown) => {
        if (!abort.signal.aborted)
          setChecked({
            ok: false,
            rules: [],
            diagnostics: [{ line: 1, severity: "error", message: asApiError(error).detail }],
          });
      });
    }, 500);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [yaml]);
  return checked;
}

function Editor({
  source,
  rule,
  onClose,
  onSaved,
}: {
  source: RuleSource | null;
  rule: Rule | null;
  onClose: () => void;
  onSaved: (id: string) => void;
}) {
  const can = useCan("admin");
  const zone = useZone((state) => state.zone);
  const [yaml, setYaml] = useState(source?.yaml ?? NEW_RULE);
  const [tab, setTab] = useState("test");
  const checked = useCheck(yaml);
  const { save, remove, setMode } = useRuleChange();
  const [sure, setSure] = useState(false);
  const own = source === null || source.origin === "own";
  const id = source?.id ?? checked?.rules.at(-1)?.id ?? null;
  const dirty = yaml !== source?.yaml;
  const mistakes = useMemo(
    () =>
      (checked?.diagnostics ?? []).map(
        (one): Mistake => ({
          line: one.line ?? 1,
          column: one.column,
          severity: one.severity,
          message: one.hint ? `${one.message} (${one.hint})` : one.message,
        }),
      ),
    [checked],
  );
  const mode = rule?.mode ?? (rule?.enabled === false ? "off" : "on");
  return (
    <div className="flex flex-col gap-4">
      {source ? (
        <div className="flex flex-wrap items-center gap-2 text-sm">
          <Badge>{source.origin.replace("_", " ")}</Badge>
          <code className="font-mono text-xs text-muted">
            {source.file}:{source.line}
          </code>
          {source.updated_by ? (
            <span className="text-xs text-muted">
              changed by {source.updated_by}, {formatTime(source.updated_at, zone, "minute")}
            </span>
          ) : null}
          <span className="ml-auto">
            <Segmented<RuleMode>
              label="Mode"
              value={mode}
              onChange={(next) => setMode.mutate({ id: source.id, mode: next })}
              options={[
                { value: "on", label: "On" },
                { value: "dry_run", label: "Dry run", title: "It judges and counts, and raises nothing" },
                { value: "off", label: "Off" },
              ]}
            />
          </span>
        </div>
      ) : null}
      <CodeEditor
        label="Rule, as YAML"
        value={yaml}
        onChange={can && own ? setYaml : undefined}
        mistakes={mistakes}
        height="22rem"
      />
      <div className="flex flex-wrap items-center gap-2">
        <CheckLine checked={checked} />
        <span className="ml-auto" />
        {source && !own ? (
          <Button
            onClick={() => void navigator.clipboard.writeText(source.yaml)}
            title="A built-in rule cannot be changed: copy it into a new one"
          >
            Copy the text
          </Button>
        ) : null}
        {source && own ? (
          sure ? (
            <>
              <Button onClick={() => setSure(false)}>Keep it</Button>
              <Button
                kind="danger"
                busy={remove.isPending}
                onClick={() => remove.mutate({ id: source.id, revision: source.revision }, { onSuccess: onClose })}
              >
                Delete {source.id}
              </Button>
            </>
          ) : (
            <Button icon={Trash2} disabled={!can} onClick={() => setSure(true)}>
              Delete
            </Button>
          )
        ) : null}
        {own ? (
          <Button
            kind="primary"
            icon={Save}
            busy={save.isPending}
            disabled={!can || !id || !checked?.ok || !dirty}
            onClick={() =>
              id && save.mutate({ id, yaml, revision: source?.revision ?? 0 }, { onSuccess: () => onSaved(id) })
            }
          >
            Put it in force
          </Button>
        ) : null}
      </div>
      <Tabs
        label="Try it"
        value={tab}
        onChange={setTab}
        tabs={[
          { value: "test", label: "Try on lines", content: <TestTab yaml={yaml} ready={checked?.ok ?? false} /> },
          {
            value: "backtest",
            label: "Try on what is stored",
            content: <BacktestTab yaml={yaml} ready={checked?.ok ?? false} />,
          },
        ]}
      />
    </div>
  );
}

function CheckLine({ checked }: { checked: Checked | null }) {
  if (!checked) return <span className="text-sm text-faint">checking…</span>;
  const first = checked.diagnostics[0];
  if (!checked.ok) {
    return (
      <span role="alert" className="min-w-0 text-sm text-critical">
        {first?.line ? `line ${first.line}: ` : ""}
        {first?.message ?? "it does not load"}
      </span>
    );
  }
  return (
    <span role="status" className="text-sm text-ok">
      loads: {checked.rules.map((rule) => rule.id).join(", ")}
      {checked.diagnostics.length > 0 ? (
        <span className="text-warning"> · {checked.diagnostics.length} hints</span>
      ) : null}
    </span>
  );
}
