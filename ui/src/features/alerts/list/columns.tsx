import { Link } from "@tanstack/react-router";
import { WIDTHS } from "@/lib/width";
import { Badge, SeverityBadge } from "@/ui/Severity";
import type { TableColumn } from "@/ui/Table";
import type { AlertFilter, Sort } from "../filter";
import type { AlertRow } from "../model";
import type { Step } from "../steps";
import { Ago, Assignee, Check, CountCell, RowSteps, StatusCell, TitleCell } from "./Cells";
import type { Selection } from "./useSelection";

/** Width of the window from which everything has room, px. */
const ROOMY = 1680;

interface Parts {
  filter: AlertFilter;
  selection: Selection;
  /** Width of the window, px. */
  width: number;
  disabled: string | null;
  onSort: (sort: Sort) => void;
  onStep: (row: AlertRow, step: Step) => void;
}

/** Columns of the list, by width of the window. */
export function columnsOf({ filter, selection, width, disabled, onSort, onStep }: Parts): TableColumn<AlertRow>[] {
  const sorted = (sort: Sort): Pick<TableColumn<AlertRow>, "sort" | "onSort"> => ({
    sort: filter.sort === sort ? "desc" : null,
    onSort: () => onSort(sort),
  });
  const select: TableColumn<AlertRow> = {
    id: "select",
    header: (
      <Check
        checked={selection.isAllLoaded}
        mixed={selection.count > 0 && !selection.isAllLoaded}
        label="Select all that are loaded"
        onToggle={selection.toggleLoaded}
      />
    ),
    width: "2.25rem",
    cell: (row, index) => (
      <Check
        checked={selection.has(row.id)}
        label={`Select ${row.title}`}
        onToggle={(extend) => selection.toggle(row.id, index, extend)}
      />
    ),
  };
  if (width < WIDTHS.sm)
    return [
      select,
      { id: "title", header: "Alert", width: "minmax(0,1fr)", cell: (row) => <TitleCell row={row} narrow /> },
    ];
  const columns: TableColumn<AlertRow>[] = [
    select,
    {
      id: "severity",
      header: "Severity",
      width: "6.25rem",
      ...sorted("worst"),
      cell: (row) => <SeverityBadge of={row.severity} />,
    },
    { id: "priority", header: "Pri", width: "2.75rem", from: "md", cell: (row) => <Badge>{row.priority}</Badge> },
    { id: "title", header: "Alert", width: "minmax(14rem,1fr)", cell: (row) => <TitleCell row={row} narrow={false} /> },
    {
      id: "service",
      header: "Service",
      width: "10.5rem",
      from: "md",
      cell: (row) =>
        row.service ? (
          <Link
            to="/services/$service"
            params={{ service: row.service }}
            preload={false}
            className="hover:underline"
            title={row.service}
          >
            {row.service}
          </Link>
        ) : (
          <span className="text-faint">–</span>
        ),
    },
    {
      id: "entity",
      header: "About",
      width: "13rem",
      from: "lg",
      cell: (row) => (
        <span title={`${row.entity.kind}: ${row.entity.value}`}>
          <span className="text-xs text-faint">{row.entity.kind}</span> {row.entity.value}
        </span>
      ),
    },
    { id: "status", header: "Status", width: "8.5rem", cell: (row) => <StatusCell row={row} /> },
    { id: "assignee", header: "Assignee", width: "6rem", from: "lg", cell: (row) => <Assignee name={row.assignee} /> },
    {
      id: "count",
      header: "Count",
      width: "3.5rem",
      align: "right",
      from: "md",
      cell: (row) => <CountCell count={row.count} />,
    },
    {
      id: "raised",
      header: "Raised",
      width: "4.5rem",
      align: "right",
      from: "lg",
      ...sorted("newest"),
      cell: (row) => <Ago time={row.raised_at} />,
    },
    {
      id: "seen",
      header: "Seen",
      width: "4.25rem",
      align: "right",
      ...sorted("last_seen"),
      cell: (row) => <Ago time={row.last_seen} />,
    },
    {
      id: "steps",
      header: <span className="sr-only">Actions</span>,
      width: "6.75rem",
      cell: (row) => <RowSteps row={row} disabled={disabled} onStep={onStep} />,
    },
  ];
  // What the title already tells is left out before the title becomes short.
  return columns.filter(
    (column) => !(column.id === "entity" && width < ROOMY) && !(column.id === "raised" && width < ROOMY),
  );
}
