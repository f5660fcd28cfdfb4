import { PageHeader } from "@/ui/Card";

export function AdminPage() {
  return <PageHeader title="Admin" />;
}
