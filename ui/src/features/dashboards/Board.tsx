/** A dashboard at work: its panels share time, variables, marks and the pointer; changed in a draft until it is saved. */
import { useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { LayoutDashboard, Plus } from "lucide-react";
import { useCallback, useEffect, useMemo, useState } from "react";
import { useRange, useUrl } from "@/app/url";
import { useCan } from "@/app/whoami";
import { cx } from "@/lib/cx";
import { useShortcuts } from "@/lib/keys";
import { toRfc3339 } from "@/lib/time";
import { Button } from "@/ui/Button";
import { Empty } from "@/ui/States";
import { toast } from "@/ui/Toasts";
import { HoverBus, HoverGroup } from "@/viz/hover";
import { AnnotationsDialog, type AnnotationsView, marksOf } from "./Annotations";
import { exploreOf, exportCsv, narrowedBy } from "./actions";
import { remember, useAnnotations } from "./api";
import { DeleteDialog } from "./DeleteDialog";
import { contentOf, useDraft } from "./draft";
import { fileName, saveFile, writeFile } from "./files";
import { Grid } from "./Grid";
import { breakpointOf, placesFor, stepped, withoutPanel, withPanel, withPlaces } from "./layout";
import { MoveBar } from "./MoveBar";
import { NameDialog } from "./NameDialog";
import { newPanel, PanelEditor } from "./PanelEditor";
import { type PanelActions, PanelFrame } from "./PanelFrame";
import { askAgain, useRefresh } from "./panels";
import { ConflictDialog, LeaveDialog } from "./SaveDialogs";
import { SettingsDialog } from "./SettingsDialog";
import { type Dashboard, type DashboardContent, durationMs, freshId, type Panel, type Place, VIZ_KINDS } from "./spec";
import { Toolbar } from "./Toolbar";
import { VariablesBar } from "./VariablesBar";
import { VariablesDialog } from "./VariablesDialog";
import { useVariables } from "./variables";

type Open = "variables" | "settings" | "delete" | null;

export function Board({ saved }: { saved: Dashboard }) {
  const { search, set } = useUrl();
  const urlRange = useRange();
  const navigate = useNavigate();
  const queries = useQueryClient();
  const can = useCan("alerts:write");
  const draft = useDraft(saved);
  const { content, dirty, changeSpec, save } = draft;
  const { spec } = content;

  const [bus] = useState(() => new HoverBus());
  const [tick, setTick] = useState(0);
  const [open, setOpen] = useState<Open>(null);
  const [copying, setCopying] = useState<DashboardContent | null>(null);
  const [notes, setNotes] = useState<AnnotationsView>(null);
  const [editor, setEditor] = useState<{ panel: Panel; fresh: boolean } | null>(null);
  const [moving, setMoving] = useState<string | null>(null);

  const editing = search.edit === "1" && can && !saved.built_in;
  const kiosk = search.kiosk === "1";
  const alone = spec.panels.find((panel) => panel.id === search.panel) ?? null;

  // It opens with its own range, unless the address names one.
  const { from, to } = saved.spec.time;
  useEffect(() => {
    if (!search.from && !search.to) set({ from, to }, { replace: true });
  }, [search.from, search.to, from, to, set]);
  const range = useMemo(
    () => (search.from || search.to ? urlRange.range : { from, to }),
    [search.from, search.to, urlRange.range, from, to],
  );

  const again = useCallback(() => {
    setTick((before) => before + 1);
    askAgain(queries);
  }, [queries]);
  const refresh = search.refresh ?? spec.refresh ?? "off";
  const refreshMs = durationMs(refresh);
  useRefresh(again, refreshMs);

  const variables = useVariables(spec.variables, range);
  const annotations = useAnnotations(range, spec.annotations?.kinds ?? [], refreshMs ?? false);
  const marks = useMemo(
    () => marksOf(annotations.data ?? [], (of) => setNotes({ kind: "edit", of })),
    [annotations.data],
  );

  const { setRange } = urlRange;
  const onSelectRange = useCallback(
    (start: number, end: number) => setRange({ from: toRfc3339(start), to: toRfc3339(end) }),
    [setRange],
  );
  const setKiosk = (on: boolean): void => {
    set({ kiosk: on ? "1" : undefined }, { replace: true });
    if (on) void document.documentElement.requestFullscreen?.().catch(() => undefined);
    else if (document.fullscreenElement) void document.exitFullscreen();
  };
  const addPanel = (): void =>
    setEditor({ panel: newPanel(freshId(spec.panels.map((panel) => panel.id))), fresh: true });
  const apply = (panel: Panel): void => {
    const known = spec.panels.some((other) => other.id === panel.id);
    const size = VIZ_KINDS.find((kind) => kind.value === panel.viz) ?? { w: 12, h: 8 };
    changeSpec((before) =>
      known
        ? { ...before, panels: before.panels.map((other) => (other.id === panel.id ? panel : other)) }
        : withPanel(before, panel, size),
    );
    setEditor(null);
  };
  const duplicate = (panel: Panel): void =>
    changeSpec((before) => {
      const place = before.layouts.lg.find((one) => one.i === panel.id);
      const id = freshId(before.panels.map((other) => other.id));
      return withPanel(before, { ...panel, id, title: `${panel.title} (copy)` }, place ?? { w: 12, h: 8 });
    });
  const remove = (panel: Panel): void => {
    const before = spec;
    changeSpec((now) => withoutPanel(now, panel.id));
    toast.calm(`“${panel.title}” is removed`, { label: "Undo", run: () => changeSpec(() => before) });
  };
  const leaveEditing = (): void => {
    draft.discard();
    setEditor(null);
    setMoving(null);
    set({ edit: undefined }, { replace: true });
  };
  const copy = (): void => setCopying({ ...contentOf(content), title: `${content.title} (copy)` });

  const leave = (): void => {
    if (alone) set({ panel: undefined });
    else if (kiosk) setKiosk(false);
  };
  useShortcuts(
    {
      r: again,
      f: () => setKiosk(!kiosk),
      e: () => can && (saved.built_in ? copy() : set({ edit: "1" })),
      ...(editing ? { a: addPanel, "mod+s": () => dirty && save.mutate(saved.revision) } : {}),
      Escape: leave,
    },
    editor === null,
  );

  const actionsOf = (panel: Panel): PanelActions => ({
    onView: () => set({ panel: search.panel ? undefined : panel.id }),
    onExplore: (asked) =>
      asked.question && void navigate({ to: "/explore", search: exploreOf(asked.question) as never }),
    onExport: (asked) => asked.question && exportCsv(panel.title, asked.question),
    onSelectRange,
    onSelectValue: (column, value, asked) => {
      const known = spec.variables.find((variable) => variable.name === column);
      if (known) variables.choose(known, { all: false, values: [value] });
      else if (asked.question)
        void navigate({ to: "/explore", search: exploreOf(narrowedBy(asked.question, column, value)) as never });
    },
    ...(editing
      ? {
          onEdit: () => setEditor({ panel, fresh: false }),
          onDuplicate: () => duplicate(panel),
          onRemove: () => remove(panel),
          ...(breakpointOf(window.innerWidth) === "xs" ? {} : { onMove: () => setMoving(panel.id) }),
        }
      : {}),
  });
  const shared = { range, variables: variables.chosen, ready: variables.ready, tick, marks };
  const frame = (panel: Panel, place?: Place) => (
    <PanelFrame
      panel={panel}
      {...shared}
      {...actionsOf(panel)}
      editing={editing && place !== undefined}
      alone={place === undefined}
      wide={place === undefined || place.w >= 16}
      toolbar={
        place && moving === panel.id ? (
          <MoveBar
            title={panel.title}
            place={place}
            onStep={(step) =>
              changeSpec((before) => {
                const breakpoint = breakpointOf(window.innerWidth);
                return withPlaces(
                  before,
                  breakpoint,
                  stepped(placesFor(before, breakpoint), panel.id, step, breakpoint),
                );
              })
            }
            onDone={() => setMoving(null)}
          />
        ) : undefined
      }
    />
  );

  return (
    <HoverGroup.Provider value={bus}>
      <div className={cx("flex flex-col", kiosk ? "fixed inset-0 z-30 overflow-auto bg-bg" : "min-h-full")}>
        <Toolbar
          saved={saved}
          content={content}
          editing={editing}
          dirty={dirty}
          saving={save.isPending}
          can={can}
          kiosk={kiosk}
          refresh={refresh}
          onRefresh={again}
          onRefreshEvery={(every) =>
            set({ refresh: every === (spec.refresh ?? "off") ? undefined : every }, { replace: true })
          }
          onEdit={() => set({ edit: "1" })}
          onCopy={copy}
          onSave={() => save.mutate(saved.revision)}
          onDiscard={leaveEditing}
          onAddPanel={addPanel}
          onVariables={() => setOpen("variables")}
          onSettings={() => setOpen("settings")}
          onAnnotations={() => setNotes({ kind: "list" })}
          onKiosk={() => setKiosk(!kiosk)}
          onExport={() => saveFile(fileName(content.title), writeFile(content))}
          onDelete={() => setOpen("delete")}
        >
          <VariablesBar offered={variables.offered} onChoose={variables.choose} />
        </Toolbar>
        {editor ? (
          <PanelEditor
            key={editor.panel.id}
            {...editor}
            {...shared}
            names={spec.variables.map((variable) => variable.name)}
            onApply={apply}
            onCancel={() => setEditor(null)}
            onSelectRange={onSelectRange}
          />
        ) : alone ? (
          <div className="min-h-96 flex-1 px-4 pb-4">{frame(alone)}</div>
        ) : spec.panels.length === 0 ? (
          <Empty
            icon={LayoutDashboard}
            title="Nothing on it yet"
            action={
              can && !saved.built_in ? (
                <Button
                  kind="primary"
                  icon={Plus}
                  onClick={() => {
                    if (!editing) set({ edit: "1" });
                    addPanel();
                  }}
                >
                  Add panel
                </Button>
              ) : undefined
            }
          >
            A panel is a query and a way to draw its answer.
          </Empty>
        ) : (
          <div className="px-4 pb-6">
            <Grid
              spec={spec}
              editing={editing}
              onPlaces={(places, breakpoint) => changeSpec((before) => withPlaces(before, breakpoint, places))}
              render={(panel, place) => frame(panel, place)}
            />
          </div>
        )}
      </div>
      <VariablesDialog
        open={open === "variables"}
        variables={spec.variables}
        onClose={() => setOpen(null)}
        onChange={(next) => changeSpec((before) => ({ ...before, variables: next }))}
      />
      <SettingsDialog
        open={open === "settings"}
        content={content}
        onClose={() => setOpen(null)}
        onChange={(next) => draft.change(() => contentOf(next))}
      />
      <DeleteDialog
        dashboard={open === "delete" ? { ...saved, panels: saved.spec.panels.length } : null}
        onClose={() => setOpen(null)}
        onDeleted={() => {
          draft.discard();
          void navigate({ to: "/dashboards", ignoreBlocker: true });
        }}
      />
      <NameDialog content={copying} heading="Copy of this dashboard" onClose={() => setCopying(null)} />
      <AnnotationsDialog
        view={notes}
        onView={setNotes}
        annotations={annotations.data ?? []}
        error={annotations.error}
      />
      <ConflictDialog
        id={saved.id}
        open={draft.conflict}
        busy={save.isPending}
        onClose={() => draft.setConflict(false)}
        onReload={(theirs) => {
          remember(queries, theirs);
          draft.discard();
          draft.setConflict(false);
        }}
        onOverwrite={(theirs) => save.mutate(theirs.revision)}
        onCopy={() => {
          draft.setConflict(false);
          const mine = contentOf(content);
          draft.discard();
          setCopying({ ...mine, title: `${mine.title} (mine)` });
        }}
      />
      <LeaveDialog
        open={draft.blocker.status === "blocked"}
        busy={save.isPending}
        onStay={() => draft.blocker.reset?.()}
        onLeave={() => draft.blocker.proceed?.()}
        onSave={() => save.mutate(saved.revision, { onSuccess: () => draft.blocker.proceed?.() })}
      />
    </HoverGroup.Provider>
  );
}
