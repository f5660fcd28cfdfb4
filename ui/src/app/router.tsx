/** Routes. Every page is a chunk of its own, loaded when it is gone to. The time range lives in the URL of every page
 * (`from`, `to`) and is kept from page to page. All search values are text, so that a URL reads as it was written. */
import {
  createRootRoute,
  createRoute,
  createRouter,
  lazyRouteComponent,
  retainSearchParams,
} from "@tanstack/react-router";
import { Lost, PageFailed } from "./Lost";
import { Shell } from "./Shell";

/** Search parameters: each page reads its own, all are text. */
export type Search = Record<string, string | undefined>;

const root = createRootRoute({
  validateSearch: (search: Record<string, unknown>): Search =>
    Object.fromEntries(
      Object.entries(search).map(([key, value]) => [key, value === undefined ? undefined : String(value)]),
    ),
  search: { middlewares: [retainSearchParams<Search>(["from", "to"])] },
  component: Shell,
  notFoundComponent: Lost,
  errorComponent: PageFailed,
});

const page = <const P extends string>(
  path: P,
  load: () => Promise<Record<string, React.ComponentType>>,
  name: string,
) =>
  createRoute({
    getParentRoute: () => root,
    path,
    component: lazyRouteComponent(load as () => Promise<Record<string, never>>, name),
    errorComponent: PageFailed,
  });

const routeTree = root.addChildren([
  page("/", () => import("@/features/overview/OverviewPage"), "OverviewPage"),
  page("/explore", () => import("@/features/explore/ExplorePage"), "ExplorePage"),
  page("/services", () => import("@/features/services/ServicesPage"), "ServicesPage"),
  page("/services/$service", () => import("@/features/services/ServicePage"), "ServicePage"),
  page("/dashboards", () => import("@/features/dashboards/DashboardsPage"), "DashboardsPage"),
  page("/dashboards/$id", () => import("@/features/dashboards/DashboardPage"), "DashboardPage"),
  page("/alerts", () => import("@/features/alerts/AlertsPage"), "AlertsPage"),
  page("/alerts/$id", () => import("@/features/alerts/AlertPage"), "AlertPage"),
  page("/incidents", () => import("@/features/incidents/IncidentsPage"), "IncidentsPage"),
  page("/incidents/$id", () => import("@/features/incidents/IncidentPage"), "IncidentPage"),
  page("/detection", () => import("@/features/detection/DetectionPage"), "DetectionPage"),
  page("/response", () => import("@/features/response/ResponsePage"), "ResponsePage"),
  page("/notifications", () => import("@/features/notifications/NotificationsPage"), "NotificationsPage"),
  page("/admin", () => import("@/features/admin/AdminPage"), "AdminPage"),
  page("/status", () => import("@/features/status/StatusPage"), "StatusPage"),
]);

export const router = createRouter({
  routeTree,
  defaultPreload: "intent",
  scrollRestoration: true,
  parseSearch: (text) => Object.fromEntries(new URLSearchParams(text)),
  stringifySearch: (search) => {
    const kept = Object.entries(search).filter(([, value]) => value !== undefined && value !== "");
    const text = new URLSearchParams(kept.map(([key, value]) => [key, String(value)])).toString();
    return text ? `?${text}` : "";
  },
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
