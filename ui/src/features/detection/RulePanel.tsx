/** One rule: its text, checked while it is written; tried on lines and on what is stored; kept, switched, removed. */
import { useState } from "react";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Failed, Skeleton } from "@/ui/States";
import { type Rule, useRule } from "./api";
import { RuleEditor } from "./RuleEditor";
import { asOwn, NEW_RULE } from "./template";

interface Props {
  /** `new` begins one. */
  id: string;
  /** The rule whose text a new one begins with. */
  copy: string | null;
  rules: Rule[];
  onClose: () => void;
  onCopy: (id: string) => void;
  onSaved: (id: string) => void;
}

export function RulePanel({ id, copy, rules, onClose, onCopy, onSaved }: Props) {
  const isNew = id === "new";
  const source = useRule(isNew ? copy : id);
  const rule = isNew ? null : (rules.find((one) => one.id === id) ?? source.data?.rule ?? null);
  const [dirty, setDirty] = useState(false);
  const [leaving, setLeaving] = useState(false);
  const close = (): void => (dirty ? setLeaving(true) : onClose());
  const shared = { onDirty: setDirty, onGone: onClose, onCopy, onSaved };
  return (
    <>
      <Dialog
        side
        wide
        open
        onOpenChange={(open) => !open && close()}
        title={isNew ? "New rule" : (rule?.title ?? id)}
        description={
          isNew ? "Heimdall's own kind or Sigma; it judges this tenant's records as they arrive." : rule?.description
        }
      >
        {isNew && !copy ? (
          <RuleEditor source={null} rule={null} start={NEW_RULE} {...shared} />
        ) : source.data ? (
          <RuleEditor
            source={isNew ? null : source.data}
            rule={rule}
            start={isNew ? asOwn(source.data.yaml, source.data.id) : source.data.yaml}
            {...shared}
          />
        ) : source.isError ? (
          <Failed error={source.error} onRetry={() => void source.refetch()} />
        ) : (
          <Skeleton rows={10} />
        )}
      </Dialog>
      <Dialog
        open={leaving}
        onOpenChange={setLeaving}
        title="Leave what you wrote?"
        description="It is not in force, and is kept nowhere."
        footer={
          <>
            <Button onClick={() => setLeaving(false)}>Go on writing</Button>
            <Button kind="danger" onClick={onClose}>
              Throw it away
            </Button>
          </>
        }
      >
        <p className="text-sm text-muted">To keep it, put it in force; in the mode dry run it raises nothing.</p>
      </Dialog>
    </>
  );
}
