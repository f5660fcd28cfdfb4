import { PageHeader } from "@/ui/Card";

export function ResponsePage() {
  return <PageHeader title="Response" />;
}
