/** Where one can go: the sidebar, the palette and the keys are made from this list. */
import {
  Activity,
  BellRing,
  BookOpenCheck,
  Boxes,
  FileSearch,
  LayoutDashboard,
  type LucideIcon,
  Radar,
  Settings2,
  ShieldCheck,
  Siren,
  Wrench,
} from "lucide-react";

export interface Place {
  to: string;
  label: string;
  icon: LucideIcon;
  /** Two keys that go there. */
  keys: string;
  group: "See" | "Act" | "Run";
  /** More words it is found by in the palette. */
  words?: string;
}

export const PLACES: Place[] = [
  { to: "/", label: "Overview", icon: Activity, keys: "g o", group: "See", words: "home health now" },
  {
    to: "/explore",
    label: "Explore",
    icon: FileSearch,
    keys: "g e",
    group: "See",
    words: "logs search sql ask tail patterns",
  },
  {
    to: "/services",
    label: "Services",
    icon: Boxes,
    keys: "g s",
    group: "See",
    words: "map graph sankey hosts scatter",
  },
  { to: "/dashboards", label: "Dashboards", icon: LayoutDashboard, keys: "g d", group: "See", words: "panels charts" },
  { to: "/alerts", label: "Alerts", icon: BellRing, keys: "g a", group: "Act", words: "open acknowledged suppressed" },
  { to: "/incidents", label: "Incidents", icon: Siren, keys: "g i", group: "Act", words: "postmortem timeline" },
  {
    to: "/detection",
    label: "Detection",
    icon: Radar,
    keys: "g t",
    group: "Act",
    words: "detectors rules sigma backtest",
  },
  {
    to: "/response",
    label: "Response",
    icon: Wrench,
    keys: "g r",
    group: "Act",
    words: "playbooks actions approvals kill switch",
  },
  {
    to: "/notifications",
    label: "Notifications",
    icon: BookOpenCheck,
    keys: "g n",
    group: "Act",
    words: "silences receivers on call",
  },
  {
    to: "/admin",
    label: "Admin",
    icon: Settings2,
    keys: "g m",
    group: "Run",
    words: "tokens tenants retention audit receipts",
  },
  {
    to: "/status",
    label: "System status",
    icon: ShieldCheck,
    keys: "g y",
    group: "Run",
    words: "self monitoring slo health",
  },
];
