/** What is asked before changes are lost: somebody else saved meanwhile, or the page is left. */
import { useQuery } from "@tanstack/react-query";
import { formatAgo } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Failed, Skeleton } from "@/ui/States";
import { fetchDashboard } from "./api";
import type { Dashboard } from "./spec";

/** Somebody else changed it since it was opened: theirs, ours, or both. */
export function ConflictDialog({
  id,
  open,
  busy,
  onClose,
  onReload,
  onOverwrite,
  onCopy,
}: {
  id: string;
  open: boolean;
  busy: boolean;
  onClose: () => void;
  onReload: (theirs: Dashboard) => void;
  onOverwrite: (theirs: Dashboard) => void;
  onCopy: () => void;
}) {
  const theirs = useQuery({
    queryKey: ["dashboard-now", id, open],
    queryFn: ({ signal }) => fetchDashboard(id, signal),
    enabled: open,
    staleTime: 0,
    gcTime: 0,
  });
  const now = theirs.data;
  return (
    <Dialog
      open={open}
      onOpenChange={(next) => !next && onClose()}
      title="Somebody else changed this dashboard"
      footer={
        <>
          <Button onClick={onCopy}>Save mine as a copy</Button>
          <Button disabled={!now} onClick={() => now && onReload(now)}>
            Take theirs
          </Button>
          <Button kind="danger" disabled={!now} busy={busy} onClick={() => now && onOverwrite(now)}>
            Overwrite theirs
          </Button>
        </>
      }
    >
      {theirs.isError ? (
        <Failed error={theirs.error} onRetry={() => void theirs.refetch()} />
      ) : now ? (
        <p className="text-sm">
          <strong>{now.updated_by}</strong> saved revision {now.revision}
          {now.updated_at ? ` ${formatAgo(now.updated_at)} ago` : null}, with {now.spec.panels.length} panels. Taking
          theirs throws your changes away; overwriting throws theirs away. Both can be kept: save yours as a copy.
        </p>
      ) : (
        <Skeleton rows={2} />
      )}
    </Dialog>
  );
}

export function LeaveDialog({
  open,
  busy,
  onStay,
  onLeave,
  onSave,
}: {
  open: boolean;
  busy: boolean;
  onStay: () => void;
  onLeave: () => void;
  onSave: () => void;
}) {
  return (
    <Dialog
      open={open}
      onOpenChange={(next) => !next && onStay()}
      title="Changes are not saved"
      footer={
        <>
          <Button onClick={onStay}>Stay</Button>
          <Button kind="danger" onClick={onLeave}>
            Leave without saving
          </Button>
          <Button kind="primary" busy={busy} onClick={onSave}>
            Save and leave
          </Button>
        </>
      }
    >
      <p className="text-sm">This dashboard was changed. Leaving now loses what was changed since it was saved.</p>
    </Dialog>
  );
}
