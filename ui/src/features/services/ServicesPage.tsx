/** Services: as a list, a map, a flow of requests, clusters of behaviour, and the hosts they run on. */
import { useQueryClient } from "@tanstack/react-query";
import { TimePicker } from "@/app/TimePicker";
import { useUrl } from "@/app/url";
import { useShortcuts } from "@/lib/keys";
import { PageHeader } from "@/ui/Card";
import { Input } from "@/ui/Field";
import { Tabs } from "@/ui/Tabs";
import { FlowView } from "./FlowView";
import { HostsView } from "./HostsView";
import { MapView } from "./MapView";
import { ScatterView } from "./ScatterView";
import { ServiceList } from "./ServiceList";

const VIEWS = ["list", "map", "flow", "clusters", "hosts"] as const;
type View = (typeof VIEWS)[number];

export function ServicesPage() {
  const { search, set } = useUrl();
  const queries = useQueryClient();
  const view: View = VIEWS.find((name) => name === search.view) ?? "list";
  const table = search.table === "1";
  const text = search.text ?? "";
  const show = (next: string): void => set({ view: next === "list" ? undefined : next });
  const refresh = (): void => void queries.invalidateQueries({ refetchType: "active" });
  const onTable = (on: boolean): void => set({ table: on ? "1" : undefined }, { replace: true });
  useShortcuts({
    r: refresh,
    ...Object.fromEntries(VIEWS.map((name, index) => [String(index + 1), () => show(name)])),
  });
  const fill = (content: React.ReactNode) => <div className="flex h-full min-h-0 flex-col">{content}</div>;
  return (
    <div className="flex min-h-0 flex-1 flex-col">
      <PageHeader
        title="Services"
        actions={
          <>
            {view === "list" || view === "hosts" ? (
              <div className="w-44">
                <Input
                  data-search
                  aria-label={
                    view === "list" ? "Services whose name, host or version holds" : "Hosts whose name or service holds"
                  }
                  placeholder="Filter"
                  value={text}
                  onChange={(event) => set({ text: event.target.value || undefined }, { replace: true })}
                />
              </div>
            ) : null}
            <TimePicker onRefresh={refresh} />
          </>
        }
      />
      <Tabs
        label="Views of services"
        value={view}
        onChange={show}
        tabs={[
          { value: "list", label: "List", content: fill(<ServiceList text={text} />) },
          { value: "map", label: "Map", content: fill(<MapView table={table} onTable={onTable} />) },
          { value: "flow", label: "Request flow", content: fill(<FlowView table={table} onTable={onTable} />) },
          { value: "clusters", label: "Clusters", content: fill(<ScatterView />) },
          { value: "hosts", label: "Hosts", content: fill(<HostsView text={text} />) },
        ]}
      />
    </div>
  );
}
