/** A panel: its title, what can be done with it, and its answer in every state. Asks only while it is seen. */
import {
  Copy,
  Download,
  Expand,
  FileSearch,
  Info,
  type LucideIcon,
  Minimize2,
  MoreHorizontal,
  Move,
  Pencil,
  Trash2,
} from "lucide-react";
import { type ReactNode, useMemo, useRef } from "react";
import { asApiError } from "@/api/problem";
import type { Answer } from "@/api/query";
import { cx } from "@/lib/cx";
import type { TimeRange } from "@/lib/time";
import { IconButton } from "@/ui/Button";
import { Menu, type MenuItem } from "@/ui/Menu";
import { Failed, Skeleton, Spinner } from "@/ui/States";
import { Tip } from "@/ui/Tip";
import { type Mark, Visualisation } from "@/viz/Visualisation";
import { type Chosen, interpolateText } from "./interpolate";
import { type Asked, askedBy, usePanelAnswer, useResolved, useSeen } from "./panels";
import type { Panel } from "./spec";

export interface PanelActions {
  onView?: () => void;
  onEdit?: () => void;
  onExplore?: (asked: Asked) => void;
  onExport?: (asked: Asked) => void;
  onDuplicate?: () => void;
  onRemove?: () => void;
  /** Moves and resizes by the keyboard. */
  onMove?: () => void;
  onSelectRange?: (from: number, to: number) => void;
  onSelectValue?: (column: string, value: string, asked: Asked) => void;
}

interface Props extends PanelActions {
  panel: Panel;
  range: TimeRange;
  variables: Record<string, Chosen>;
  /** False while values of variables are not known yet. */
  ready: boolean;
  /** Counts how often the dashboard was asked again. */
  tick: number;
  marks?: Mark[];
  wide?: boolean;
  editing?: boolean;
  /** Shown alone: the menu leads back. */
  alone?: boolean;
  /** In place of the title's row while it is moved. */
  toolbar?: ReactNode;
}

const NO_ANSWER: Answer = { columns: [], rows: [], stats: {} };

export function PanelFrame(props: Props) {
  const { panel, range, variables, ready, tick, wide = false, editing, alone, toolbar } = props;
  const box = useRef<HTMLElement>(null);
  const seen = useSeen(box);
  // biome-ignore lint/correctness/useExhaustiveDependencies: asked again, `$__from` is another time
  const asked = useMemo(() => askedBy(panel, range, variables, wide), [panel, range, variables, wide, tick]);
  const answer = usePanelAnswer(asked.question, ready && seen && asked.mistakes.length === 0);
  const title = interpolateText(panel.title, asked.context) || "Untitled";
  return (
    <section
      ref={box}
      aria-label={title}
      className="flex h-full min-w-0 flex-col rounded-lg border border-line bg-surface"
    >
      {toolbar ?? (
        <header
          className={cx(
            "flex h-9 shrink-0 items-center gap-1.5 pr-1 pl-3",
            editing && "panel-drag cursor-move rounded-t-lg hover:bg-hover",
          )}
        >
          <h2 className="truncate text-sm font-medium" title={title}>
            {title}
          </h2>
          {panel.description ? (
            <Tip text={interpolateText(panel.description, asked.context)}>
              <button
                type="button"
                aria-label={`About ${title}`}
                className="panel-actions flex size-5 items-center justify-center text-faint hover:text-fg"
              >
                <Info size={13} aria-hidden />
              </button>
            </Tip>
          ) : null}
          {answer.isFetching && answer.data ? <Spinner className="text-faint" /> : null}
          <span className="panel-actions ml-auto flex items-center">
            {alone && props.onView ? (
              <IconButton icon={Minimize2} label="Back to the dashboard" keys="Esc" size="sm" onClick={props.onView} />
            ) : null}
            <Menu
              trigger={<IconButton icon={MoreHorizontal} label={`Menu of ${title}`} size="sm" />}
              items={menuOf(props, asked)}
            />
          </span>
        </header>
      )}
      <div className="min-h-0 flex-1 px-2 pb-2">
        <Answered {...props} asked={asked} answer={answer} title={title} />
      </div>
    </section>
  );
}

function menuOf(props: Props, asked: Asked): (MenuItem | null)[] {
  const item = (
    label: string,
    icon: LucideIcon,
    act: (() => void) | undefined,
    more: Partial<MenuItem> = {},
  ): MenuItem[] => (act ? [{ label, icon, onSelect: act, ...more }] : []);
  const { onExplore, onExport, alone } = props;
  const can = asked.question !== null;
  const groups = [
    [
      ...item(alone ? "Back to the dashboard" : "View full screen", alone ? Minimize2 : Expand, props.onView),
      ...item("Explore from here", FileSearch, onExplore && can ? () => onExplore(asked) : undefined),
      ...item("Export CSV", Download, onExport && can ? () => onExport(asked) : undefined),
    ],
    [
      ...item("Edit", Pencil, props.onEdit),
      ...item("Duplicate", Copy, props.onDuplicate),
      ...item("Move or resize", Move, props.onMove),
    ],
    item("Remove", Trash2, props.onRemove, { danger: true }),
  ].filter((group) => group.length > 0);
  return groups.flatMap((group, index) => (index > 0 ? [null, ...group] : group));
}

function Answered({
  panel,
  range,
  marks,
  asked,
  answer,
  title,
  onSelectRange,
  onSelectValue,
}: Props & { asked: Asked; answer: ReturnType<typeof usePanelAnswer>; title: string }) {
  const resolved = useResolved(range, answer.dataUpdatedAt);
  const spec = useMemo(
    () => (panel.text === undefined ? panel : { ...panel, text: interpolateText(panel.text, asked.context) }),
    [panel, asked],
  );
  if (panel.viz === "text") return <Visualisation answer={NO_ANSWER} spec={spec} label={title} height="100%" />;
  if (asked.mistakes.length > 0)
    return <p className="m-auto p-3 text-center text-sm text-critical">{asked.mistakes.join(". ")}</p>;
  if (asked.question === null)
    return (
      <p className="p-3 text-center text-sm text-muted">This panel asks nothing yet. Edit it to write its query.</p>
    );
  if (answer.data === undefined) {
    if (answer.isError)
      return (
        <Failed error={answer.error} onRetry={() => void answer.refetch()} className="h-full overflow-auto px-2 py-2" />
      );
    return <Skeleton rows={3} className="p-1" />;
  }
  return (
    <div className="flex h-full flex-col">
      {answer.isError ? (
        <p role="status" className="truncate text-xs text-warning">
          Not up to date: {asApiError(answer.error).detail}
        </p>
      ) : null}
      <div className="min-h-0 flex-1">
        <Visualisation
          answer={answer.data}
          spec={spec}
          label={title}
          height="100%"
          marks={marks}
          range={resolved}
          step={asked.step}
          onSelectRange={onSelectRange}
          onSelectValue={onSelectValue ? (column, value) => onSelectValue(column, value, asked) : undefined}
        />
      </div>
    </div>
  );
}
