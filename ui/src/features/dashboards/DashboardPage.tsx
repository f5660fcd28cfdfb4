/** One dashboard. */
import { Link, useParams } from "@tanstack/react-router";
import { ApiError } from "@/api/client";
import { PageHeader } from "@/ui/Card";
import { Notice, Remote, Skeleton } from "@/ui/States";
import { useDashboard } from "./api";
import { Board } from "./Board";

export function DashboardPage() {
  const { id = "" } = useParams({ strict: false }) as { id?: string };
  const dashboard = useDashboard(id);
  if (dashboard.error instanceof ApiError && dashboard.error.status === 404 && !dashboard.data)
    return (
      <>
        <PageHeader title="Dashboard" />
        <Notice
          title="There is no such dashboard"
          action={
            <Link to="/dashboards" className="text-accent hover:underline">
              To all dashboards
            </Link>
          }
        >
          It was deleted, or it belongs to another tenant.
        </Notice>
      </>
    );
  return (
    <Remote
      of={dashboard}
      loading={
        <>
          <PageHeader title="Dashboard" />
          <Skeleton rows={8} />
        </>
      }
    >
      {(saved) => <Board key={saved.id} saved={saved} />}
    </Remote>
  );
}
