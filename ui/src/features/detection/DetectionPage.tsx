import { PageHeader } from "@/ui/Card";

export function DetectionPage() {
  return <PageHeader title="Detection" />;
}
