import { Plus } from "lucide-react";
import { lazy, Suspense, useMemo, useState } from "react";
import { useUrl } from "@/app/url";
import { useCan } from "@/app/whoami";
import { useShortcuts } from "@/lib/keys";
import { Button } from "@/ui/Button";
import { Input, Select } from "@/ui/Field";
import { Badge, SeverityBadge } from "@/ui/Severity";
import { Empty, Remote, Skeleton } from "@/ui/States";
import { Table } from "@/ui/Table";
import { type Rule, useRules } from "./api";
import { PrecisionBar } from "./PrecisionBar";

const RulePanel = lazy(() => import("./RulePanel").then((module) => ({ default: module.RulePanel })));

/** Rules whose words all stand somewhere in id, title or description. */
export function matching(rules: Rule[], text: string, severity: string, origin: string): Rule[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return rules.filter(
    (rule) =>
      (!severity || rule.severity === severity) &&
      (!origin || rule.origin === origin) &&
      words.every((word) => `${rule.id} ${rule.title} ${rule.description}`.toLowerCase().includes(word)),
  );
}

/** The rules in force: found by words, opened, tried, changed. */
export function Rules() {
  const { search, set } = useUrl();
  const rules = useRules();
  const can = useCan("admin");
  const [inHand, setInHand] = useState<string | null>(null);
  useShortcuts({ n: () => can && set({ rule: "new" }) });
  const shown = useMemo(
    () => matching(rules.data ?? [], search.text ?? "", search.severity ?? "", search.origin ?? ""),
    [rules.data, search.text, search.severity, search.origin],
  );
  return (
    <div className="flex h-full min-h-0 flex-col">
      <div className="flex flex-wrap items-center gap-2 border-b border-line px-3 py-2">
        <Input
          data-search
          aria-label="Find rules"
          placeholder="Find by id, title, description"
          className="max-w-72"
          value={search.text ?? ""}
          onChange={(event) => set({ text: event.target.value || undefined }, { replace: true })}
        />
        <Select
          aria-label="Severity"
          value={search.severity ?? ""}
          onChange={(event) => set({ severity: event.target.value || undefined }, { replace: true })}
          options={[
            { value: "", label: "Any severity" },
            { value: "CRITICAL", label: "Critical" },
            { value: "WARNING", label: "Warning" },
          ]}
        />
        <Select
          aria-label="Origin"
          value={search.origin ?? ""}
          onChange={(event) => set({ origin: event.target.value || undefined }, { replace: true })}
          options={[
            { value: "", label: "Any origin" },
            { value: "built_in", label: "Built in" },
            { value: "folder", label: "Rules folder" },
            { value: "own", label: "Own" },
          ]}
        />
        <span role="status" className="tnum text-sm text-muted">
          {rules.data ? `${shown.length} of ${rules.data.length}` : ""}
        </span>
        <Button
          kind="primary"
          icon={Plus}
          className="ml-auto"
          disabled={!can}
          title={can ? "n" : "Needs the scope admin"}
          onClick={() => set({ rule: "new" })}
        >
          New rule
        </Button>
      </div>
      <Remote of={rules} loading={<Skeleton rows={8} />}>
        {() =>
          shown.length === 0 ? (
            <Empty
              title="No rule of that kind"
              action={
                <Button onClick={() => set({ text: undefined, severity: undefined, origin: undefined })}>
                  Show all
                </Button>
              }
            />
          ) : (
            <Table<Rule>
              label="Rules"
              rows={shown}
              rowHeight={36}
              keyOf={(rule) => rule.id}
              active={search.rule ?? inHand}
              onActive={(rule) => setInHand(rule.id)}
              onOpen={(rule) => set({ rule: rule.id })}
              columns={[
                {
                  id: "severity",
                  header: "Severity",
                  width: "7rem",
                  cell: (rule) => <SeverityBadge of={rule.severity} />,
                },
                {
                  id: "title",
                  header: "Rule",
                  width: "minmax(11rem,1.2fr)",
                  cell: (rule) => <span className="font-medium">{rule.title}</span>,
                },
                {
                  id: "id",
                  header: "Id",
                  width: "minmax(9rem,1fr)",
                  from: "md",
                  cell: (rule) => <code className="font-mono text-xs text-muted">{rule.id}</code>,
                },
                { id: "mode", header: "Mode", width: "6rem", cell: (rule) => <Mode rule={rule} /> },
                {
                  id: "origin",
                  header: "From",
                  width: "7rem",
                  from: "sm",
                  cell: (rule) => <span className="text-muted">{originText(rule)}</span>,
                },
                {
                  id: "precision",
                  header: "Precision by feedback",
                  width: "minmax(9rem,.8fr)",
                  from: "lg",
                  cell: (rule) => (
                    <span className="flex items-center gap-2">
                      <PrecisionBar feedback={rule.feedback} />
                      {rule.suggestion ? <span className="text-xs text-warning">better in dry run</span> : null}
                    </span>
                  ),
                },
              ]}
            />
          )
        }
      </Remote>
      {search.rule ? (
        <Suspense fallback={null}>
          <RulePanel
            key={`${search.rule} ${search.copy ?? ""}`}
            id={search.rule}
            copy={search.copy ?? null}
            rules={rules.data ?? []}
            onClose={() => set({ rule: undefined, copy: undefined })}
            onCopy={(copy) => set({ rule: "new", copy })}
            onSaved={(rule) => set({ rule, copy: undefined }, { replace: true })}
          />
        </Suspense>
      ) : null}
    </div>
  );
}

function Mode({ rule }: { rule: Rule }) {
  const { mode } = rule;
  return <Badge tone={mode === "on" ? "ok" : mode === "dry_run" ? "accent" : "quiet"}>{mode.replace("_", " ")}</Badge>;
}

function originText(rule: Rule): string {
  return rule.origin === "own" ? "own" : rule.origin === "folder" ? rule.file : "built in";
}
