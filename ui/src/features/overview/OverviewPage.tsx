import { PageHeader } from "@/ui/Card";

export function OverviewPage() {
  return <PageHeader title="Overview" />;
}
