/** Admin: who may do what, where the data is, what arrived, who did what. */
import { useUrl } from "@/app/url";
import { useWhoAmI } from "@/app/whoami";
import { useGridKeys } from "@/lib/gridKeys";
import { PageHeader } from "@/ui/Card";
import { Tabs } from "@/ui/Tabs";
import { Audit } from "./Audit";
import { DeadLetters } from "./DeadLetters";
import { Doors } from "./Doors";
import { FieldCosts } from "./FieldCosts";
import { Receipts } from "./Receipts";
import { Sessions } from "./Sessions";
import { Storage } from "./Storage";
import { Tenants } from "./Tenants";
import { Tokens } from "./Tokens";

export function AdminPage() {
  const { search, set } = useUrl();
  const who = useWhoAmI();
  useGridKeys();
  return (
    <div className="flex min-h-0 flex-1 flex-col">
      <PageHeader title="Admin" hint={who.data ? `tenant ${who.data.tenant}` : null} />
      <Tabs
        label="Admin"
        value={search.tab ?? (search.receipt ? "receipts" : search.line ? "audit" : "tokens")}
        onChange={(tab) =>
          set({ tab, line: undefined, receipt: undefined, door: undefined, outcome: undefined }, { replace: true })
        }
        tabs={[
          { value: "tokens", label: "Tokens", content: <Tokens /> },
          { value: "sessions", label: "Live sessions", content: <Sessions /> },
          { value: "tenants", label: "Tenants", content: <Tenants /> },
          { value: "storage", label: "Storage", content: <Storage /> },
          { value: "fields", label: "Cost of fields", content: <FieldCosts /> },
          { value: "doors", label: "Doors", content: <Doors /> },
          { value: "receipts", label: "Receipts", content: <Receipts /> },
          { value: "dead-letters", label: "Dead letters", content: <DeadLetters /> },
          { value: "audit", label: "Audit trail", content: <Audit /> },
        ]}
      />
    </div>
  );
}
