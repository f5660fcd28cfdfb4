/** The frame of every page: where one is, where one can go, whether the server is there. */
import { useQuery } from "@tanstack/react-query";
import { Link, Outlet, useNavigate, useRouterState } from "@tanstack/react-router";
import {
  ChevronsLeft,
  ChevronsRight,
  LogOut,
  Menu as MenuIcon,
  Moon,
  Search,
  Sun,
  UserRound,
  Wifi,
  WifiOff,
} from "lucide-react";
import { Suspense, useEffect, useState } from "react";
import { client, unwrap } from "@/api/client";
import { useSession } from "@/api/session";
import { cx } from "@/lib/cx";
import { formatShort } from "@/lib/format";
import { useShortcuts } from "@/lib/keys";
import { useZone, zoneName } from "@/lib/time";
import { useWidth, WIDTHS } from "@/lib/width";
import { useAlertsSocket, useLiveAlerts } from "@/live/alerts";
import { Button, IconButton } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Kbd } from "@/ui/Kbd";
import { Menu } from "@/ui/Menu";
import { Skeleton } from "@/ui/States";
import { Tip } from "@/ui/Tip";
import { Help } from "./Help";
import { Logo } from "./Logo";
import { PLACES, type Place } from "./nav";
import { Palette } from "./Palette";
import { SignIn } from "./SignIn";
import { useTheme } from "./theme";
import { useWhoAmI } from "./whoami";

/** Counts of the whole server, asked every few seconds by everyone who shows them. */
export function useSummary() {
  return useQuery({
    queryKey: ["summary"],
    queryFn: ({ signal }) => unwrap(client.GET("/metrics/summary", { signal })),
    refetchInterval: 5000,
  });
}

export function Shell() {
  const refused = useSession((session) => session.refused);
  return refused ? <SignIn /> : <Frame />;
}

function Frame() {
  useAlertsSocket();
  const [palette, setPalette] = useState(false);
  const [help, setHelp] = useState(false);
  const [drawer, setDrawer] = useState(false);
  const narrow = useWidth() < WIDTHS.sm;
  const navigate = useNavigate();
  const path = useRouterState({ select: (state) => state.location.pathname });
  // biome-ignore lint/correctness/useExhaustiveDependencies: going somewhere closes the drawer
  useEffect(() => setDrawer(false), [path]);
  useShortcuts({
    "mod+k": () => setPalette(true),
    "?": () => setHelp(true),
    "/": () => {
      const box = document.querySelector<HTMLElement>("[data-search] .cm-content, input[data-search]");
      if (box) box.focus();
      else setPalette(true);
    },
    ...Object.fromEntries(PLACES.map((place) => [place.keys, () => void navigate({ to: place.to })])),
  });
  return (
    <div className="flex h-full min-h-0">
      <a
        href="#main"
        className="sr-only focus:not-sr-only focus:absolute focus:z-60 focus:m-2 focus:rounded focus:bg-raised focus:p-2"
      >
        Skip to the page
      </a>
      {narrow ? null : <Sidebar />}
      <div className="flex min-w-0 flex-1 flex-col">
        <header className="flex h-11 shrink-0 items-center gap-2 border-b border-line bg-surface px-2 sm:px-3">
          {narrow ? (
            <>
              <IconButton icon={MenuIcon} label="Menu" onClick={() => setDrawer(true)} />
              <Logo size={22} />
            </>
          ) : null}
          <button
            type="button"
            onClick={() => setPalette(true)}
            className="flex h-8 min-w-0 flex-1 items-center gap-2 rounded-md border border-line bg-bg px-2.5 text-sm text-faint hover:border-line-strong sm:max-w-96"
          >
            <Search size={14} aria-hidden />
            <span className="truncate">Search or go to</span>
            <span className="ml-auto hidden sm:inline">
              <Kbd keys="mod+k" />
            </span>
          </button>
          <div className="ml-auto flex items-center gap-1">
            <Connection />
            <ThemeButton />
            <Account />
          </div>
        </header>
        <main id="main" tabIndex={-1} className="flex min-h-0 flex-1 flex-col overflow-auto focus:outline-none">
          <Suspense fallback={<Skeleton rows={8} />}>
            <Outlet />
          </Suspense>
        </main>
      </div>
      {narrow ? (
        <Dialog open={drawer} onOpenChange={setDrawer} title="Heimdall" side>
          <Places wide />
        </Dialog>
      ) : null}
      <Palette open={palette} onOpenChange={setPalette} onHelp={() => setHelp(true)} />
      <Help open={help} onOpenChange={setHelp} />
    </div>
  );
}

function Sidebar() {
  const width = useWidth();
  const [chosen, setChosen] = useState(() => localStorage.getItem("heimdall.sidebar"));
  const wide = chosen ? chosen === "wide" : width >= WIDTHS.lg;
  const toggle = (): void => {
    const next = wide ? "narrow" : "wide";
    localStorage.setItem("heimdall.sidebar", next);
    setChosen(next);
  };
  return (
    <aside className={cx("flex shrink-0 flex-col border-r border-line bg-surface", wide ? "w-48" : "w-13")}>
      <Link
        to="/"
        className={cx("flex h-11 items-center gap-2.5 border-b border-line", wide ? "px-3" : "justify-center")}
        aria-label="Heimdall, overview"
      >
        <Logo size={24} />
        {wide ? <span className="text-base font-semibold tracking-tight">Heimdall</span> : null}
      </Link>
      <div className="min-h-0 flex-1 overflow-y-auto p-1.5">
        <Places wide={wide} />
      </div>
      <div className={cx("border-t border-line p-1.5", wide ? "" : "flex justify-center")}>
        <IconButton
          icon={wide ? ChevronsLeft : ChevronsRight}
          label={wide ? "Make the menu narrow" : "Make the menu wide"}
          size="sm"
          onClick={toggle}
        />
      </div>
    </aside>
  );
}

function Places({ wide }: { wide: boolean }) {
  const groups = ["See", "Act", "Run"] as const;
  return (
    <nav aria-label="Main" className="flex flex-col gap-3">
      {groups.map((group) => (
        <ul key={group} className="flex flex-col gap-0.5">
          {wide ? (
            <li className="px-2 pb-0.5 text-2xs font-semibold tracking-wide text-faint uppercase">{group}</li>
          ) : null}
          {PLACES.filter((place) => place.group === group).map((place) => (
            <li key={place.to}>
              <PlaceLink place={place} wide={wide} />
            </li>
          ))}
        </ul>
      ))}
    </nav>
  );
}

function PlaceLink({ place, wide }: { place: Place; wide: boolean }) {
  const open = useSummary().data?.alerts.by_status.OPEN ?? 0;
  const count = place.to === "/alerts" && open > 0 ? open : null;
  const link = (
    <Link
      to={place.to}
      activeOptions={{ exact: place.to === "/" }}
      activeProps={{ className: "bg-selected text-fg font-medium", "aria-current": "page" }}
      inactiveProps={{ className: "text-muted hover:bg-hover hover:text-fg" }}
      className={cx("relative flex h-8 items-center gap-2.5 rounded-md text-sm", wide ? "px-2" : "justify-center")}
    >
      <place.icon size={16} aria-hidden className="shrink-0" />
      <span className={wide ? "flex-1 truncate" : "sr-only"}>{place.label}</span>
      {count !== null ? (
        <span
          className={cx(
            "tnum rounded bg-critical-soft px-1 text-2xs font-semibold text-critical",
            !wide && "absolute top-0 right-0",
          )}
        >
          {formatShort(count)}
          <span className="sr-only"> open</span>
        </span>
      ) : null}
    </Link>
  );
  return wide ? (
    link
  ) : (
    <Tip text={place.label} keys={place.keys}>
      {link}
    </Tip>
  );
}

function Connection() {
  const link = useLiveAlerts((live) => live.link);
  const zone = useZone((state) => state.zone);
  const { data } = useSummary();
  const [text, Icon, tone] =
    link === "live"
      ? (["Live", Wifi, "text-ok"] as const)
      : link === "connecting"
        ? (["Connecting", Wifi, "text-faint"] as const)
        : (["Connection lost, trying again", WifiOff, "text-critical"] as const);
  return (
    <div className="flex items-center gap-3 text-xs text-muted">
      {data ? (
        <span className="tnum hidden md:inline" title="Records a second, the last minute">
          {formatShort(data.logs.per_second + data.samples.per_second)}/s
        </span>
      ) : null}
      <span className="hidden lg:inline" title="All times are shown in this zone; change it in the time range">
        {zoneName(zone)}
      </span>
      <span role="status" className={cx("flex items-center gap-1", tone)}>
        <Icon size={14} aria-hidden />
        <span className={link === "lost" ? "" : "max-md:sr-only"}>{text}</span>
      </span>
    </div>
  );
}

function ThemeButton() {
  const { theme, toggle } = useTheme();
  return (
    <IconButton
      icon={theme === "dark" ? Sun : Moon}
      label={theme === "dark" ? "Light theme" : "Dark theme"}
      onClick={toggle}
    />
  );
}

function Account() {
  const { data } = useWhoAmI();
  const { token, signOut } = useSession();
  const name = data?.principal ?? "…";
  return (
    <Menu
      trigger={
        <Button kind="ghost" icon={UserRound} aria-label={`Account: ${name}`}>
          <span className="max-w-28 truncate max-md:hidden">{name}</span>
        </Button>
      }
      items={[
        { label: `Tenant: ${data?.tenant ?? "default"}`, disabled: true, onSelect: () => {} },
        {
          label: data?.auth_enabled ? `May: ${data.scopes.join(", ")}` : "No token is needed on this machine",
          disabled: true,
          onSelect: () => {},
        },
        { label: `Heimdall ${data?.version ?? ""}`, disabled: true, onSelect: () => {} },
        ...(token ? [null, { label: "Sign out", icon: LogOut, onSelect: signOut }] : []),
      ]}
    />
  );
}
