import { PageHeader } from "@/ui/Card";

export function NotificationsPage() {
  return <PageHeader title="Notifications" />;
}
