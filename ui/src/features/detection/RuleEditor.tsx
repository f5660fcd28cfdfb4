import { Copy, Save, Trash2 } from "lucide-react";
import { type ReactNode, useEffect, useMemo, useState } from "react";
import { asApiError } from "@/api/problem";
import { useCan } from "@/app/whoami";
import { formatTime, useZone } from "@/lib/time";
import { Button } from "@/ui/Button";
import { CodeEditor } from "@/ui/CodeEditor";
import { Segmented } from "@/ui/Field";
import { Badge } from "@/ui/Severity";
import { Tabs } from "@/ui/Tabs";
import { type Checked, type Rule, type RuleMode, type RuleSource, useRuleChange } from "./api";
import { BacktestTab } from "./BacktestTab";
import { TestTab } from "./TestTab";
import { asOwn, NEW_RULE, NEW_SIGMA } from "./template";
import { mistakeOf, placeOf, useCheck } from "./useCheck";

interface Props {
  /** The rule as it is kept; null for one that is not yet. */
  source: RuleSource | null;
  rule: Rule | null;
  /** The text to begin with. */
  start: string;
  onDirty: (dirty: boolean) => void;
  onGone: () => void;
  onCopy: (id: string) => void;
  onSaved: (id: string) => void;
}

/** The text of a rule. What is being written is never taken away: when somebody else changed the rule meanwhile, the writer
 * chooses. */
export function RuleEditor({ source, rule, start, onDirty, onGone, onCopy, onSaved }: Props) {
  const can = useCan("admin");
  const zone = useZone((state) => state.zone);
  const [yaml, setYaml] = useState(start);
  /** What is being changed: the revision that is replaced. */
  const [base, setBase] = useState(source);
  const [tab, setTab] = useState("test");
  const { save, remove, setMode } = useRuleChange();
  const [sure, setSure] = useState(false);
  const own = source === null || source.origin === "own";
  // What is everybody's would be refused as a rule of one's own: it is in force, and tried as it stands.
  const found = useCheck(own ? yaml : null);
  const checked = own ? found : null;
  const ready = own ? (checked?.ok ?? false) : true;
  const id = source?.id ?? checked?.rules.at(-1)?.id ?? null;
  const changed = yaml !== (base?.yaml ?? start);
  const moved = source !== null && source.revision !== base?.revision;
  // Nothing of one's own is at stake: what is in force now is shown.
  if (moved && (!changed || yaml === source.yaml)) {
    setBase(source);
    setYaml(source.yaml);
  }
  const conflict = moved && changed && yaml !== source.yaml;
  useEffect(() => onDirty(changed && own), [changed, own, onDirty]);
  const mistakes = useMemo(() => (checked?.diagnostics ?? source?.diagnostics ?? []).map(mistakeOf), [checked, source]);
  const put = (revision: number): void => {
    if (!id) return;
    save.mutate(
      { id, yaml, revision },
      {
        onSuccess: (kept) => {
          setBase(kept);
          setYaml(kept.yaml);
          onDirty(false);
          onSaved(id);
        },
      },
    );
  };
  const problem = save.isError ? asApiError(save.error) : null;
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
              revision {source.revision}, by {source.updated_by}, {formatTime(source.updated_at, zone, "minute")}
            </span>
          ) : null}
          <span className="ml-auto">
            <Segmented<RuleMode>
              label="Mode"
              value={(rule?.mode ?? "on") as RuleMode}
              disabled={!can || setMode.isPending}
              title={can ? undefined : "Needs the scope admin"}
              onChange={(mode) => setMode.mutate({ id: source.id, mode })}
              options={[
                { value: "on", label: "On" },
                { value: "dry_run", label: "Dry run", title: "It judges and counts, and raises nothing" },
                { value: "off", label: "Off" },
              ]}
            />
          </span>
        </div>
      ) : yaml === NEW_RULE || yaml === NEW_SIGMA ? (
        <div className="flex flex-wrap items-center gap-2 text-sm text-muted">
          Begin with
          <Segmented
            label="Begin with"
            value={yaml === NEW_SIGMA ? "sigma" : "own"}
            onChange={(kind) => setYaml(kind === "sigma" ? NEW_SIGMA : NEW_RULE)}
            options={[
              { value: "own", label: "a search line" },
              { value: "sigma", label: "Sigma" },
            ]}
          />
        </div>
      ) : null}
      {conflict ? (
        <Conflict by={source.updated_by ?? "somebody"} at={formatTime(source.updated_at, zone)}>
          <Button
            size="sm"
            onClick={() => {
              setBase(source);
              setYaml(source.yaml);
              save.reset();
            }}
          >
            Take theirs
          </Button>
          <Button
            size="sm"
            kind="danger"
            busy={save.isPending}
            disabled={!checked?.ok}
            onClick={() => put(source.revision)}
          >
            Replace it with mine
          </Button>
        </Conflict>
      ) : null}
      <div className="flex flex-col gap-2">
        <CodeEditor
          label="Rule, as YAML"
          value={yaml}
          onChange={can && own ? setYaml : undefined}
          mistakes={mistakes}
          height="22rem"
        />
        {own ? <CheckLine checked={checked} /> : null}
        {problem && !conflict ? (
          <p role="alert" className="text-sm text-critical">
            {problem.detail}
          </p>
        ) : null}
      </div>
      <div className="flex flex-wrap items-center justify-end gap-2">
        {source ? (
          <Button
            icon={Copy}
            className="mr-auto"
            disabled={!can}
            title={can ? "Begin another rule with this text" : "Needs the scope admin"}
            onClick={() => onCopy(source.id)}
          >
            Copy into a new rule
          </Button>
        ) : null}
        {source && !own ? (
          <span className="text-xs text-muted">
            {source.origin === "built_in" ? "It comes with Heimdall" : "It stands in the rules folder"}: its mode can be
            changed here, its text cannot.
          </span>
        ) : null}
        {source && own ? (
          sure ? (
            <>
              <span className="text-xs text-muted">Its open alerts stay.</span>
              <Button onClick={() => setSure(false)}>Keep it</Button>
              <Button
                kind="danger"
                busy={remove.isPending}
                onClick={() =>
                  remove.mutate(
                    { id: source.id, revision: source.revision },
                    {
                      onSuccess: () => {
                        onDirty(false);
                        onGone();
                      },
                    },
                  )
                }
              >
                Delete {source.id}
              </Button>
            </>
          ) : (
            <Button
              icon={Trash2}
              disabled={!can}
              title={can ? undefined : "Needs the scope admin"}
              onClick={() => setSure(true)}
            >
              Delete
            </Button>
          )
        ) : null}
        {own ? (
          <Button
            kind="primary"
            icon={Save}
            busy={save.isPending}
            disabled={!can || !id || !checked?.ok || conflict || (source !== null && !changed)}
            title={can ? undefined : "Needs the scope admin"}
            onClick={() => put(base?.revision ?? 0)}
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
          {
            value: "test",
            label: "Try on lines",
            content: <TestTab yaml={own ? yaml : asOwn(yaml, source.id)} ready={ready} />,
          },
          {
            value: "backtest",
            label: "Try on what is stored",
            content: <BacktestTab yaml={yaml} rule={own ? null : source.id} ready={ready} />,
          },
        ]}
      />
    </div>
  );
}

function Conflict({ by, at, children }: { by: string; at: string; children: ReactNode }) {
  return (
    <div role="alert" className="flex flex-wrap items-center gap-2 rounded-md bg-warning-soft p-2.5 text-sm">
      <span className="min-w-0 flex-1">
        {by} changed this rule at {at}, while you wrote. What you wrote is still here.
      </span>
      {children}
    </div>
  );
}

/** How many mistakes are told in full; the editor marks all of them. */
const TOLD_MAX = 3;

function CheckLine({ checked }: { checked: Checked | null }) {
  if (!checked)
    return (
      <p role="status" className="text-sm text-faint">
        checking…
      </p>
    );
  const errors = checked.diagnostics.filter((one) => one.severity === "error");
  const hints = checked.diagnostics.filter((one) => one.severity !== "error");
  return (
    <div className="flex flex-col gap-1 text-sm">
      {checked.ok ? (
        <p role="status" className="text-ok">
          loads: {checked.rules.map((rule) => rule.id).join(", ")}
        </p>
      ) : (
        <div role="alert">
          <ul className="text-critical">
            {errors.slice(0, TOLD_MAX).map((one) => (
              <li key={`${one.line}${one.column}${one.message}`} className="break-words">
                {placeOf(one)}
                {one.message}
                {one.hint ? <span className="text-muted"> {one.hint}</span> : null}
              </li>
            ))}
            {errors.length > TOLD_MAX ? <li>and {errors.length - TOLD_MAX} more</li> : null}
            {errors.length === 0 ? <li>it does not load</li> : null}
          </ul>
        </div>
      )}
      {hints.length > 0 ? (
        <ul className="text-xs text-warning">
          {hints.slice(0, TOLD_MAX).map((one) => (
            <li key={`${one.line}${one.message}`}>
              {placeOf(one)}
              {one.message}
              {one.hint ? <span className="text-muted"> {one.hint}</span> : null}
            </li>
          ))}
        </ul>
      ) : null}
    </div>
  );
}
