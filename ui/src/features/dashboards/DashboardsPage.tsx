/** Every dashboard: found by words, tags and folders. */
import { useNavigate } from "@tanstack/react-router";
import { Copy, Download, Folder, LayoutDashboard, MoreHorizontal, Plus, Search, Trash2, Upload } from "lucide-react";
import { useMemo, useState } from "react";
import { useUrl } from "@/app/url";
import { useCan } from "@/app/whoami";
import { cx } from "@/lib/cx";
import { useShortcuts } from "@/lib/keys";
import { formatAgo, formatTime, useZone } from "@/lib/time";
import { Button, IconButton } from "@/ui/Button";
import { PageHeader } from "@/ui/Card";
import { Input, Select } from "@/ui/Field";
import { Menu } from "@/ui/Menu";
import { Badge } from "@/ui/Severity";
import { Empty, Remote } from "@/ui/States";
import { Table } from "@/ui/Table";
import { toast } from "@/ui/Toasts";
import { fetchDashboard, useDashboards } from "./api";
import { DeleteDialog } from "./DeleteDialog";
import { NO_RIGHT } from "./fields";
import { fileName, saveFile, writeFile } from "./files";
import { ImportDialog } from "./ImportDialog";
import { foldersOf, found, tagsOf } from "./list";
import { NameDialog } from "./NameDialog";
import { type DashboardContent, type DashboardSummary, emptySpec } from "./spec";

export function DashboardsPage() {
  const list = useDashboards();
  const can = useCan("alerts:write");
  const [naming, setNaming] = useState<{ content: DashboardContent; heading: string } | null>(null);
  const [importing, setImporting] = useState(false);
  const folders = useMemo(() => foldersOf(list.data ?? []), [list.data]);
  const { search } = useUrl();
  const create = (): void =>
    setNaming({
      heading: "New dashboard",
      content: { title: "", description: "", tags: [], folder: search.folder ?? "", spec: emptySpec() },
    });
  useShortcuts({ n: () => can && create(), r: () => void list.refetch() });
  return (
    <div className="flex min-h-0 flex-1 flex-col">
      <PageHeader
        title="Dashboards"
        actions={
          <>
            <Button icon={Upload} disabled={!can} title={can ? undefined : NO_RIGHT} onClick={() => setImporting(true)}>
              Import
            </Button>
            <Button kind="primary" icon={Plus} disabled={!can} title={can ? "n" : NO_RIGHT} onClick={create}>
              New dashboard
            </Button>
          </>
        }
      />
      <Remote of={list}>
        {(all) => (
          <List
            all={all}
            folders={folders}
            can={can}
            onCreate={create}
            onCopy={(content) => setNaming({ heading: "Copy of a dashboard", content })}
          />
        )}
      </Remote>
      <NameDialog
        content={naming?.content ?? null}
        heading={naming?.heading ?? ""}
        folders={folders}
        onClose={() => setNaming(null)}
      />
      <ImportDialog open={importing} onClose={() => setImporting(false)} />
    </div>
  );
}

function List({
  all,
  folders,
  can,
  onCreate,
  onCopy,
}: {
  all: DashboardSummary[];
  folders: string[];
  can: boolean;
  onCreate: () => void;
  onCopy: (content: DashboardContent) => void;
}) {
  const { search, set } = useUrl();
  const navigate = useNavigate();
  const zone = useZone((state) => state.zone);
  const [active, setActive] = useState<string | null>(null);
  const [deleting, setDeleting] = useState<DashboardSummary | null>(null);
  const tags = useMemo(() => tagsOf(all), [all]);
  const rows = useMemo(
    () => found(all, { text: search.text ?? "", tag: search.tag, folder: search.folder }),
    [all, search.text, search.tag, search.folder],
  );
  const withContent = (of: DashboardSummary, act: (content: DashboardContent) => void): void => {
    fetchDashboard(of.id).then(act).catch(toast.failed);
  };
  return (
    <>
      <div className="flex flex-wrap items-center gap-2 px-4 pb-2">
        <span className="relative min-w-0 flex-1 sm:max-w-80">
          <Search size={14} aria-hidden className="absolute top-1/2 left-2.5 -translate-y-1/2 text-faint" />
          <Input
            data-search
            type="search"
            aria-label="Find a dashboard"
            placeholder="Find by title, description or tag"
            className="pl-8"
            value={search.text ?? ""}
            onChange={(event) => set({ text: event.target.value || undefined }, { replace: true })}
          />
        </span>
        {folders.length > 0 ? (
          <Select
            aria-label="Folder"
            value={search.folder ?? ""}
            onChange={(event) => set({ folder: event.target.value || undefined })}
            options={[{ value: "", label: "All folders" }, ...folders.map((name) => ({ value: name, label: name }))]}
          />
        ) : null}
        {tags.length > 0 ? (
          <ul aria-label="Tags" className="flex max-w-full flex-wrap gap-1">
            {tags.slice(0, 20).map((tag) => (
              <li key={tag}>
                <button
                  type="button"
                  aria-pressed={search.tag === tag}
                  onClick={() => set({ tag: search.tag === tag ? undefined : tag })}
                  className={cx(
                    "min-h-6 rounded px-2 text-xs",
                    search.tag === tag ? "bg-accent-soft text-accent" : "bg-hover text-muted hover:text-fg",
                  )}
                >
                  {tag}
                </button>
              </li>
            ))}
          </ul>
        ) : null}
      </div>
      {rows.length === 0 ? (
        <Empty
          icon={LayoutDashboard}
          title={all.length === 0 ? "No dashboards yet" : "No dashboard like that"}
          action={
            all.length === 0 ? (
              <Button kind="primary" icon={Plus} disabled={!can} onClick={onCreate}>
                New dashboard
              </Button>
            ) : (
              <Button onClick={() => set({ text: undefined, tag: undefined, folder: undefined })}>Show all</Button>
            )
          }
        >
          {all.length === 0
            ? "Make one from any query, or import one that somebody shared."
            : "Other words, another tag or folder may find it."}
        </Empty>
      ) : (
        <Table<DashboardSummary>
          label="Dashboards"
          rows={rows}
          rowHeight={40}
          keyOf={(row) => row.id}
          active={active}
          onActive={(row) => setActive(row.id)}
          onOpen={(row) => void navigate({ to: "/dashboards/$id", params: { id: row.id } })}
          columns={[
            {
              id: "title",
              header: "Title",
              width: "minmax(13rem,2fr)",
              cell: (row) => (
                <span className="flex min-w-0 items-center gap-2">
                  <span className="min-w-0 truncate">
                    <span className="font-medium">{row.title}</span>
                    {row.description ? (
                      <span className="ml-2 text-xs text-faint max-sm:hidden">{row.description}</span>
                    ) : null}
                  </span>
                  {row.built_in ? <Badge tone="accent">built-in</Badge> : null}
                </span>
              ),
            },
            {
              id: "folder",
              header: "Folder",
              width: "minmax(7rem,0.6fr)",
              from: "md",
              cell: (row) =>
                row.folder ? (
                  <span className="flex items-center gap-1.5 text-muted">
                    <Folder size={13} aria-hidden />
                    <span className="truncate">{row.folder}</span>
                  </span>
                ) : null,
            },
            {
              id: "tags",
              header: "Tags",
              width: "minmax(8rem,1fr)",
              from: "sm",
              cell: (row) => (
                <span className="flex gap-1 overflow-hidden">
                  {row.tags.map((tag) => (
                    <Badge key={tag}>{tag}</Badge>
                  ))}
                </span>
              ),
            },
            { id: "panels", header: "Panels", width: "5rem", align: "right", from: "md", cell: (row) => row.panels },
            {
              id: "changed",
              header: "Changed",
              width: "minmax(9rem,0.7fr)",
              from: "sm",
              cell: (row) =>
                row.updated_at ? (
                  <span className="text-muted" title={formatTime(row.updated_at, zone)}>
                    {formatAgo(row.updated_at)} ago by {row.updated_by}
                  </span>
                ) : (
                  <span className="text-faint">ships with Heimdall</span>
                ),
            },
            {
              id: "menu",
              header: <span className="sr-only">Actions</span>,
              width: "3rem",
              cell: (row) => (
                <Menu
                  trigger={<IconButton icon={MoreHorizontal} label={`Menu of ${row.title}`} size="sm" />}
                  items={[
                    {
                      label: row.built_in ? "Copy to edit" : "Duplicate",
                      icon: Copy,
                      disabled: !can,
                      onSelect: () =>
                        withContent(row, (content) => onCopy({ ...content, title: `${content.title} (copy)` })),
                    },
                    {
                      label: "Export JSON",
                      icon: Download,
                      onSelect: () =>
                        withContent(row, (content) => saveFile(fileName(content.title), writeFile(content))),
                    },
                    null,
                    {
                      label: row.built_in ? "Delete (built-in ones stay)" : "Delete",
                      icon: Trash2,
                      danger: true,
                      disabled: row.built_in || !can,
                      onSelect: () => setDeleting(row),
                    },
                  ]}
                />
              ),
            },
          ]}
        />
      )}
      <DeleteDialog dashboard={deleting} onClose={() => setDeleting(null)} />
    </>
  );
}
