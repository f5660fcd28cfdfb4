import { PageHeader } from "@/ui/Card";

export function DashboardsPage() {
  return <PageHeader title="Dashboards" />;
}
