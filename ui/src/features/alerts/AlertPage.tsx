import { PageHeader } from "@/ui/Card";

export function AlertPage() {
  return <PageHeader title="Alert" />;
}
