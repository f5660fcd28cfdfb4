/** What can be done with a question and its answer: save, share, export, put onto a dashboard. */
import { Bookmark, BookmarkPlus, Download, LayoutDashboard, Link2, MoreHorizontal } from "lucide-react";
import { useState } from "react";
import type { TimeRange } from "@/lib/time";
import { useWidth, WIDTHS } from "@/lib/width";
import { Button, IconButton } from "@/ui/Button";
import { Menu } from "@/ui/Menu";
import { copy } from "../detail/RecordPanel";
import type { Asked, View } from "../question";
import type { Run } from "../run/useRun";
import { AddToDashboard } from "./AddToDashboard";
import { ExportDialog } from "./ExportDialog";
import { SaveDialog } from "./SaveDialog";
import { SavedDialog } from "./SavedDialog";

interface Props {
  asked: Asked;
  range: TimeRange;
  run: Run;
  span: TimeRange;
  onOpen: (changes: Partial<Asked>) => void;
  onRange: (range: TimeRange) => void;
}

type Open = "save" | "saved" | "export" | "board" | null;

export function ExploreActions({ asked, range, run, span, onOpen, onRange }: Props) {
  const [open, setOpen] = useState<Open>(null);
  const isNarrow = useWidth() < WIDTHS.md;
  const isAnswered = run.answer !== null || run.rows !== null;
  const toggle = (which: Exclude<Open, null>) => (isOpen: boolean) => setOpen(isOpen ? which : null);
  /** The times as they were when it was asked: who follows the link sees the same records. */
  const share = (fixed: boolean): void => {
    const url = new URL(location.href);
    if (fixed) {
      url.searchParams.set("from", span.from);
      url.searchParams.set("to", span.to);
    }
    void copy(url.href, fixed ? "The link is copied, with these exact times" : "The link is copied");
  };
  return (
    <>
      {isNarrow ? null : (
        <>
          <Button icon={Bookmark} kind="ghost" onClick={() => setOpen("saved")}>
            Saved
          </Button>
          <Button icon={BookmarkPlus} kind="ghost" onClick={() => setOpen("save")}>
            Save
          </Button>
          <Menu
            trigger={
              <Button icon={Link2} kind="ghost">
                Share
              </Button>
            }
            items={[
              { label: "Copy a link to this question", icon: Link2, onSelect: () => share(false) },
              { label: "Copy a link with these exact times", icon: Link2, onSelect: () => share(true) },
            ]}
          />
        </>
      )}
      <Menu
        trigger={<IconButton icon={MoreHorizontal} label="More to do with this answer" />}
        items={[
          ...(isNarrow
            ? [
                { label: "Saved questions", icon: Bookmark, onSelect: () => setOpen("saved") },
                { label: "Save this question", icon: BookmarkPlus, onSelect: () => setOpen("save") },
                { label: "Copy a link", icon: Link2, onSelect: () => share(false) },
                { label: "Copy a link with these exact times", icon: Link2, onSelect: () => share(true) },
                null,
              ]
            : []),
          { label: "Export…", icon: Download, disabled: !isAnswered, onSelect: () => setOpen("export") },
          {
            label: "Add to a dashboard…",
            icon: LayoutDashboard,
            disabled: !isAnswered,
            onSelect: () => setOpen("board"),
          },
        ]}
      />
      <SaveDialog asked={asked} range={range} open={open === "save"} onOpenChange={toggle("save")} />
      <SavedDialog
        open={open === "saved"}
        onOpenChange={toggle("saved")}
        onChoose={(query) => {
          setOpen(null);
          onOpen({
            query: query.query,
            language: query.language,
            columns: query.view.columns ?? ["service", "message"],
            order: query.view.order ?? "newest",
            view: (query.view.tab as View | undefined) ?? "records",
            viz: query.view.viz,
          });
          if (query.from && query.to) onRange({ from: query.from, to: query.to });
        }}
      />
      <ExportDialog run={run} asked={asked} span={span} open={open === "export"} onOpenChange={toggle("export")} />
      <AddToDashboard run={run} viz={asked.viz} range={range} open={open === "board"} onOpenChange={toggle("board")} />
    </>
  );
}
