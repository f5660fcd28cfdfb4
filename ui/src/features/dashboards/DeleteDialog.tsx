/** Shows what is about to be deleted before its button. */
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { formatTime, useZone } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { toast } from "@/ui/Toasts";
import { addDashboard, deleteDashboard, fetchDashboard, remember } from "./api";
import type { DashboardSummary } from "./spec";

export function DeleteDialog({
  dashboard,
  onClose,
  onDeleted,
}: {
  dashboard: Pick<DashboardSummary, "id" | "title" | "panels" | "updated_by" | "updated_at"> | null;
  onClose: () => void;
  onDeleted?: () => void;
}) {
  const zone = useZone((state) => state.zone);
  const queries = useQueryClient();
  const remove = useMutation({
    mutationFn: async (id: string) => {
      const content = await fetchDashboard(id);
      await deleteDashboard(id);
      return content;
    },
    onSuccess: (gone) => {
      queries.removeQueries({ queryKey: ["dashboard", gone.id] });
      void queries.invalidateQueries({ queryKey: ["dashboards"] });
      onClose();
      onDeleted?.();
      toast.ok(`“${gone.title}” is deleted`, {
        label: "Undo",
        run: () => {
          addDashboard(gone)
            .then((back) => {
              remember(queries, back);
              toast.ok(`“${back.title}” is back, under a new address`);
            })
            .catch(toast.failed);
        },
      });
    },
    onError: toast.failed,
  });
  return (
    <Dialog
      open={dashboard !== null}
      onOpenChange={(open) => !open && onClose()}
      title="Delete this dashboard?"
      footer={
        <>
          <Button onClick={onClose}>Keep it</Button>
          <Button kind="danger" busy={remove.isPending} onClick={() => dashboard && remove.mutate(dashboard.id)}>
            Delete
          </Button>
        </>
      }
    >
      {dashboard ? (
        <p className="text-sm">
          <strong>{dashboard.title}</strong>, {dashboard.panels} panels, changed last by {dashboard.updated_by}
          {dashboard.updated_at ? ` at ${formatTime(dashboard.updated_at, zone, "minute")}` : null}. Its panels go with
          it; the records they show stay.
        </p>
      ) : null}
    </Dialog>
  );
}
