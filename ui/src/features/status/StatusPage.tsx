import { PageHeader } from "@/ui/Card";

export function StatusPage() {
  return <PageHeader title="Status" />;
}
