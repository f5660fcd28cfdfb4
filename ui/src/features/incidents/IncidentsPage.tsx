import { PageHeader } from "@/ui/Card";

export function IncidentsPage() {
  return <PageHeader title="Incidents" />;
}
