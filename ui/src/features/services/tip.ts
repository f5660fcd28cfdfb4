/** Tips of charts, built as elements: names come from records and are never read as markup. */

export interface TipRow {
  /** Colour of the series; left out for none. */
  colour?: string;
  name: string;
  value: string;
}

/** A heading and rows of names and values. */
export function tipOf(title: string, rows: TipRow[], note?: string): HTMLElement {
  const box = document.createElement("div");
  box.style.maxWidth = "320px";
  const head = box.appendChild(document.createElement("div"));
  head.textContent = title;
  head.style.fontWeight = "600";
  head.style.whiteSpace = "normal";
  for (const row of rows) {
    const line = box.appendChild(document.createElement("div"));
    Object.assign(line.style, { display: "flex", gap: "12px", justifyContent: "space-between", alignItems: "center" });
    const name = line.appendChild(document.createElement("span"));
    if (row.colour) {
      const dot = name.appendChild(document.createElement("span"));
      Object.assign(dot.style, {
        display: "inline-block",
        width: "8px",
        height: "8px",
        borderRadius: "2px",
        marginRight: "6px",
        background: row.colour,
      });
    }
    name.append(row.name);
    name.style.whiteSpace = "normal";
    const value = line.appendChild(document.createElement("span"));
    value.textContent = row.value;
    Object.assign(value.style, { fontVariantNumeric: "tabular-nums", fontWeight: "500" });
  }
  if (note) {
    const last = box.appendChild(document.createElement("div"));
    last.textContent = note;
    Object.assign(last.style, { opacity: "0.75", whiteSpace: "normal", marginTop: "2px" });
  }
  return box;
}
