import { Building2 } from "lucide-react";
import type { Schemas } from "@/api/client";
import { usePages } from "@/api/pages";
import { useSession } from "@/api/session";
import { useWhoAmI } from "@/app/whoami";
import { formatBytes, formatNumber, formatShort } from "@/lib/format";
import { formatAgo, formatTime, useZone } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Badge } from "@/ui/Severity";
import { Empty, Failed, Skeleton } from "@/ui/States";
import { Table } from "@/ui/Table";

type TenantRow = Schemas["TenantView"];

/** Who shares this server, what each keeps in it; whoever may speak for all can change to one. */
export function Tenants() {
  const zone = useZone((state) => state.zone);
  const who = useWhoAmI();
  const setTenant = useSession((session) => session.setTenant);
  const { query, items, more } = usePages<TenantRow>("/api/v1/tenants", {}, { refreshMs: 15_000 });
  if (query.isPending) return <Skeleton />;
  if (query.isError && items.length === 0) return <Failed error={query.error} onRetry={() => void query.refetch()} />;
  if (items.length === 0) return <Empty icon={Building2} title="No tenant has sent anything yet" />;
  const change = (tenant: string): void => {
    setTenant(tenant === "default" ? null : tenant);
    // Everything on the page is of the tenant before: begin anew.
    location.reload();
  };
  return (
    <div className="flex h-full min-h-0 flex-col">
      <Table<TenantRow>
        label="Tenants"
        rows={items}
        keyOf={(row) => row.tenant}
        onEnd={more}
        rowHeight={36}
        columns={[
          {
            id: "tenant",
            header: "Tenant",
            width: "minmax(8rem,1fr)",
            cell: (row) => (
              <span className="inline-flex items-center gap-2 font-medium">
                {row.tenant}
                {row.tenant === who.data?.tenant ? <Badge tone="accent">shown</Badge> : null}
              </span>
            ),
          },
          {
            id: "records",
            header: "Records",
            width: "5.5rem",
            align: "right",
            cell: (row) => (
              <span title={`${formatNumber(row.logs)} log records, ${formatNumber(row.samples)} samples`}>
                {formatShort(row.records)}
              </span>
            ),
          },
          {
            id: "bytes",
            header: "On disk",
            width: "7rem",
            align: "right",
            from: "sm",
            cell: (row) => formatBytes(row.bytes),
          },
          {
            id: "first",
            header: "First",
            width: "10rem",
            from: "md",
            cell: (row) => <span className="text-muted">{formatTime(row.first, zone, "minute")}</span>,
          },
          {
            id: "last",
            header: "Last",
            width: "4rem",
            cell: (row) => <span title={formatTime(row.last, zone)}>{formatAgo(row.last)}</span>,
          },
          {
            id: "open",
            header: "Open alerts",
            width: "7rem",
            align: "right",
            from: "sm",
            cell: (row) => (
              <span className={row.open_alerts > 0 ? "text-critical" : "text-muted"}>
                {formatNumber(row.open_alerts)}
              </span>
            ),
          },
          {
            id: "do",
            header: <span className="sr-only">Actions</span>,
            width: "5rem",
            align: "right",
            cell: (row) =>
              who.data?.all_tenants && row.tenant !== who.data.tenant ? (
                <Button size="sm" onClick={() => change(row.tenant)} aria-label={`Show ${row.tenant}`}>
                  Show
                </Button>
              ) : null,
          },
        ]}
      />
    </div>
  );
}
