import { Dialog } from "@/ui/Dialog";
import { Kbd } from "@/ui/Kbd";
import { PLACES } from "./nav";

const EVERYWHERE: [string, string][] = [
  ["mod+k", "Command palette"],
  ["/", "Search"],
  ["?", "This list"],
  ["Esc", "Close what is open"],
  ["r", "Look again"],
];

const LISTS: [string, string][] = [
  ["j", "Next row"],
  ["k", "Row before"],
  ["Enter", "Open the row"],
  ["x", "Select the row"],
  ["a", "Acknowledge"],
  ["s", "Suppress"],
  ["e", "Resolve"],
];

/** Every key there is. */
export function Help({ open, onOpenChange }: { open: boolean; onOpenChange: (open: boolean) => void }) {
  return (
    <Dialog open={open} onOpenChange={onOpenChange} title="Keyboard shortcuts" wide>
      <div className="grid gap-6 sm:grid-cols-3">
        <Group title="Everywhere" rows={EVERYWHERE} />
        <Group title="Go to" rows={PLACES.map((place) => [place.keys, place.label])} />
        <Group title="Lists" rows={LISTS} />
      </div>
    </Dialog>
  );
}

function Group({ title, rows }: { title: string; rows: [string, string][] }) {
  return (
    <section>
      <h3 className="mb-2 text-sm font-semibold">{title}</h3>
      <dl className="flex flex-col gap-1.5 text-sm">
        {rows.map(([keys, what]) => (
          <div key={keys} className="flex items-center justify-between gap-3">
            <dt className="text-muted">{what}</dt>
            <dd>
              <Kbd keys={keys} />
            </dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
