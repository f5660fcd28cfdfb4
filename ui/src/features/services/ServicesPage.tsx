import { PageHeader } from "@/ui/Card";

export function ServicesPage() {
  return <PageHeader title="Services" />;
}
