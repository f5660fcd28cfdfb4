import { useUrl } from "@/app/url";
import { useCan } from "@/app/whoami";
import { PageHeader } from "@/ui/Card";
import { Tabs } from "@/ui/Tabs";
import { Deliveries } from "./Deliveries";
import { OnCall } from "./OnCall";
import { Receivers } from "./Receivers";
import { Routes } from "./Routes";
import { Silences } from "./Silences";

const TABS = ["silences", "receivers", "routes", "oncall", "deliveries"];

/** Who is told of what, and of what nobody is. */
export function NotificationsPage() {
  const { search, set } = useUrl();
  const can = useCan("alerts:write");
  const disabled = can ? null : "It needs a token with the scope alerts:write";
  const tab = TABS.find((name) => name === search.tab) ?? "silences";
  return (
    <div className="flex min-h-0 flex-1 flex-col">
      <PageHeader title="Notifications" hint="who is told of what, and why not" />
      <Tabs
        label="Notifications"
        value={tab}
        onChange={(next) => set({ tab: next === "silences" ? undefined : next })}
        tabs={[
          { value: "silences", label: "Silences", content: <Silences disabled={disabled} /> },
          { value: "receivers", label: "Receivers", content: <Receivers disabled={disabled} /> },
          { value: "routes", label: "Where would it go?", content: <Routes /> },
          { value: "oncall", label: "On call", content: <OnCall /> },
          { value: "deliveries", label: "Deliveries", content: <Deliveries /> },
        ]}
      />
    </div>
  );
}
