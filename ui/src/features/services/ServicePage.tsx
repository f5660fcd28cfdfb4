import { PageHeader } from "@/ui/Card";

export function ServicePage() {
  return <PageHeader title="Service" />;
}
