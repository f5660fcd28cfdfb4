/** All fields of a record: copy, filter, show as a column. */
import { ClipboardCopy, Columns3 } from "lucide-react";
import { cx } from "@/lib/cx";
import { formatMs } from "@/lib/format";
import { formatTime, useZone } from "@/lib/time";
import { IconButton } from "@/ui/Button";
import { fieldsOf, text } from "../rows/record";
import { FilterButton } from "../sidebar/TopValues";
import { copy, type RecordPanelProps } from "./RecordPanel";

export function FieldsTab({
  row,
  columns,
  onColumn,
  onFilter,
}: Pick<RecordPanelProps, "row" | "columns" | "onColumn" | "onFilter">) {
  const zone = useZone((state) => state.zone);
  const fields = fieldsOf(row).filter((field) => field.name !== "message");
  return (
    <div className="h-full overflow-auto">
      <table className="w-full table-fixed text-xs">
        <caption className="sr-only">Fields of the record</caption>
        <thead className="sr-only">
          <tr>
            <th>Field</th>
            <th>Value</th>
            <th>What can be done</th>
          </tr>
        </thead>
        <tbody>
          {fields.map(({ name, value }) => {
            const written = text(value);
            const isTime = name === "timestamp" || name === "observed";
            return (
              <tr key={name} className="group border-b border-line/60 align-top hover:bg-hover">
                <th
                  scope="row"
                  title={name}
                  className="w-34 truncate py-1 pl-3 text-left font-mono font-normal text-muted"
                >
                  {name}
                </th>
                <td className="py-1 pl-2 font-mono break-all">
                  {isTime ? (
                    <span title={written}>{formatTime(written, zone, "ms")}</span>
                  ) : name === "duration_ms" && typeof value === "number" ? (
                    <span title={written}>{formatMs(value)}</span>
                  ) : (
                    written
                  )}
                </td>
                <td className="w-28 py-0.5 pr-2">
                  <span className="flex justify-end opacity-60 group-focus-within:opacity-100 group-hover:opacity-100">
                    {isTime ? null : (
                      <>
                        <FilterButton
                          kind="in"
                          field={name}
                          name={written}
                          onPress={() => onFilter(name, value, false)}
                        />
                        <FilterButton
                          kind="out"
                          field={name}
                          name={written}
                          onPress={() => onFilter(name, value, true)}
                        />
                      </>
                    )}
                    <IconButton
                      icon={Columns3}
                      label={columns.includes(name) ? `Hide column ${name}` : `Show ${name} as a column`}
                      size="sm"
                      className={cx("size-6!", columns.includes(name) && "text-accent")}
                      onClick={() => onColumn(name)}
                    />
                    <IconButton
                      icon={ClipboardCopy}
                      label={`Copy ${name}`}
                      size="sm"
                      className="size-6!"
                      onClick={() => void copy(written, `${name} is copied`)}
                    />
                  </span>
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
