import { PageHeader } from "@/ui/Card";

export function IncidentPage() {
  return <PageHeader title="Incident" />;
}
