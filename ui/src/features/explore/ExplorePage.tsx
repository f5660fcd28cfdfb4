import { PageHeader } from "@/ui/Card";

export function ExplorePage() {
  return <PageHeader title="Explore" />;
}
