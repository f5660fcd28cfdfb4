import { PageHeader } from "@/ui/Card";

export function DashboardPage() {
  return <PageHeader title="Dashboard" />;
}
