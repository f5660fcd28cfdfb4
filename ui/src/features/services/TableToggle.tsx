import { Segmented } from "@/ui/Field";

/** A picture, or the same as a table. */
export function TableToggle({
  table,
  onTable,
  picture,
  className,
}: {
  table: boolean;
  onTable: (table: boolean) => void;
  picture: string;
  className?: string;
}) {
  return (
    <div className={className}>
      <Segmented
        label="Shown as"
        value={table ? "table" : "picture"}
        onChange={(value) => onTable(value === "table")}
        options={[
          { value: "picture", label: picture },
          { value: "table", label: "Table" },
        ]}
      />
    </div>
  );
}
