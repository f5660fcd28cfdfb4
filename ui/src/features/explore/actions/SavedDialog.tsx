import { BookmarkX, Trash2 } from "lucide-react";
import { useState } from "react";
import { formatAgo, formatTime, useZone } from "@/lib/time";
import { Button, IconButton } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Input } from "@/ui/Field";
import { Badge } from "@/ui/Severity";
import { Empty, Remote } from "@/ui/States";
import { toast } from "@/ui/Toasts";
import { type SavedQuery, useDeleteQuery, useSavedQueries } from "../api";

interface Props {
  open: boolean;
  onOpenChange: (open: boolean) => void;
  onChoose: (query: SavedQuery) => void;
}

/** Questions that were given a name. */
export function SavedDialog({ open, onOpenChange, onChoose }: Props) {
  const zone = useZone((state) => state.zone);
  const [words, setWords] = useState("");
  const [doomed, setDoomed] = useState<string | null>(null);
  const saved = useSavedQueries(open);
  const remove = useDeleteQuery();
  const wanted = words.trim().toLowerCase();
  return (
    <Dialog open={open} onOpenChange={onOpenChange} title="Saved questions" wide>
      <Remote
        of={saved}
        empty={{
          when: (list) => list.length === 0,
          show: (
            <Empty icon={BookmarkX} title="Nothing is saved yet">
              Ask something and press Save: it is then found here by everyone of this tenant.
            </Empty>
          ),
        }}
      >
        {(list) => (
          <div className="flex flex-col gap-2">
            <Input
              autoFocus
              aria-label="Find a saved question"
              placeholder="Find by name or text"
              value={words}
              onChange={(event) => setWords(event.target.value)}
            />
            <ul className="flex flex-col divide-y divide-line">
              {list
                .filter((one) => `${one.name} ${one.description} ${one.query}`.toLowerCase().includes(wanted))
                .map((one) => (
                  <li key={one.id} className="flex items-center gap-2 py-1.5">
                    <button
                      type="button"
                      onClick={() => onChoose(one)}
                      className="min-w-0 flex-1 rounded px-1 text-left hover:bg-hover"
                    >
                      <span className="flex items-center gap-2 font-medium">
                        {one.name} <Badge>{one.language}</Badge>
                      </span>
                      <code className="block truncate font-mono text-xs text-muted">{one.query || "*"}</code>
                      {one.description ? <span className="text-xs text-muted">{one.description}</span> : null}
                    </button>
                    <span className="text-xs text-faint max-sm:hidden" title={formatTime(one.updated_at, zone)}>
                      {one.updated_at ? `${formatAgo(one.updated_at)} ago` : ""}
                      {one.updated_by ? ` by ${one.updated_by}` : ""}
                    </span>
                    {doomed === one.id ? (
                      <Button
                        size="sm"
                        kind="danger"
                        busy={remove.isPending}
                        onClick={() =>
                          remove.mutate(one, {
                            onSuccess: () => toast.ok(`“${one.name}” is deleted`),
                            onError: toast.failed,
                            onSettled: () => setDoomed(null),
                          })
                        }
                      >
                        Delete “{one.name}”
                      </Button>
                    ) : (
                      <IconButton
                        icon={Trash2}
                        label={`Delete ${one.name}…`}
                        size="sm"
                        onClick={() => setDoomed(one.id)}
                      />
                    )}
                  </li>
                ))}
            </ul>
          </div>
        )}
      </Remote>
    </Dialog>
  );
}
