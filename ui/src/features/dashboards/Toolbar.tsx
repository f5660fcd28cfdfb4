/** Head of a dashboard: what it is, the time it shows, what can be done with it. */
import { Link } from "@tanstack/react-router";
import {
  Copy,
  Download,
  Expand,
  Flag,
  Minimize2,
  MoreHorizontal,
  Pencil,
  Plus,
  Save,
  Settings2,
  Trash2,
  Variable as VariableIcon,
} from "lucide-react";
import type { ReactNode } from "react";
import { TimePicker } from "@/app/TimePicker";
import { Button, IconButton } from "@/ui/Button";
import { PageHeader } from "@/ui/Card";
import { Select } from "@/ui/Field";
import { Menu } from "@/ui/Menu";
import { Badge } from "@/ui/Severity";
import { NO_RIGHT } from "./fields";
import { type Dashboard, type DashboardContent, PANELS_MAX, REFRESHES } from "./spec";

interface Props {
  saved: Dashboard;
  content: DashboardContent;
  editing: boolean;
  dirty: boolean;
  saving: boolean;
  can: boolean;
  kiosk: boolean;
  /** `off` or how often it asks again. */
  refresh: string;
  onRefresh: () => void;
  onRefreshEvery: (refresh: string) => void;
  onEdit: () => void;
  onCopy: () => void;
  onSave: () => void;
  onDiscard: () => void;
  onAddPanel: () => void;
  onVariables: () => void;
  onSettings: () => void;
  onAnnotations: () => void;
  onKiosk: () => void;
  onExport: () => void;
  onDelete: () => void;
  children?: ReactNode;
}

export function Toolbar(props: Props) {
  const { saved, content, editing, dirty, kiosk, refresh, children } = props;
  const intervals = [...new Set([...REFRESHES, ...(refresh === "off" ? [] : [refresh])])];
  return (
    <PageHeader
      title={
        <span className="flex min-w-0 items-center gap-1.5">
          {kiosk ? null : (
            <>
              <Link to="/dashboards" className="font-normal text-muted hover:text-fg max-sm:hidden">
                Dashboards
              </Link>
              <span aria-hidden className="font-normal text-faint max-sm:hidden">
                /
              </span>
            </>
          )}
          {content.title}
        </span>
      }
      hint={
        <span className="flex items-center gap-1.5">
          {saved.built_in ? <Badge tone="accent">built-in</Badge> : null}
          {dirty ? <Badge tone="warning">not saved</Badge> : null}
        </span>
      }
      actions={
        <>
          {editing ? <EditActions {...props} /> : <ViewActions {...props} />}
          <TimePicker onRefresh={props.onRefresh} />
          <Select
            aria-label="Ask again"
            value={refresh}
            onChange={(event) => props.onRefreshEvery(event.target.value)}
            options={[{ value: "off", label: "Off" }, ...intervals.map((value) => ({ value, label: value }))]}
          />
          <IconButton icon={Flag} label="Annotations" onClick={props.onAnnotations} />
          <IconButton
            icon={kiosk ? Minimize2 : Expand}
            label={kiosk ? "Leave full screen" : "Full screen"}
            keys="f"
            onClick={props.onKiosk}
          />
          {kiosk ? null : <More {...props} />}
        </>
      }
    >
      {children}
    </PageHeader>
  );
}

function ViewActions({ saved, can, kiosk, onEdit, onCopy }: Props) {
  if (kiosk) return null;
  const title = can ? undefined : NO_RIGHT;
  return saved.built_in ? (
    <Button icon={Copy} disabled={!can} title={title} onClick={onCopy}>
      Copy to edit
    </Button>
  ) : (
    <Button icon={Pencil} disabled={!can} title={title} onClick={onEdit}>
      Edit
    </Button>
  );
}

function EditActions({ content, dirty, saving, onAddPanel, onVariables, onSettings, onDiscard, onSave }: Props) {
  const full = content.spec.panels.length >= PANELS_MAX;
  return (
    <>
      <Button icon={Plus} onClick={onAddPanel} disabled={full} title={full ? `At most ${PANELS_MAX} panels` : "a"}>
        Add panel
      </Button>
      <IconButton icon={VariableIcon} label="Variables" onClick={onVariables} />
      <IconButton icon={Settings2} label="Settings" onClick={onSettings} />
      <Button onClick={onDiscard}>{dirty ? "Discard" : "Done"}</Button>
      <Button kind="primary" icon={Save} busy={saving} disabled={!dirty} onClick={onSave}>
        Save
      </Button>
    </>
  );
}

function More({ saved, can, editing, onCopy, onExport, onSettings, onDelete }: Props) {
  return (
    <Menu
      trigger={<IconButton icon={MoreHorizontal} label="More" />}
      items={[
        { label: "Export JSON", icon: Download, onSelect: onExport },
        { label: "Duplicate", icon: Copy, disabled: !can, onSelect: onCopy },
        ...(editing ? [{ label: "Settings", icon: Settings2, onSelect: onSettings }] : []),
        null,
        {
          label: saved.built_in ? "Delete (built-in ones stay)" : "Delete",
          icon: Trash2,
          danger: true,
          disabled: saved.built_in || !can,
          onSelect: onDelete,
        },
      ]}
    />
  );
}
