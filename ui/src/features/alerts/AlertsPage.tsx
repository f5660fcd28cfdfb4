import { PageHeader } from "@/ui/Card";

export function AlertsPage() {
  return <PageHeader title="Alerts" />;
}
