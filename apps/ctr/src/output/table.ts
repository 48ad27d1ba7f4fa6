/** How the columns of a table are set. */
export interface TableStyle {
  /** No column is narrower. */
  readonly minWidth: number;
  /** Spaces between a column's widest cell and the next column. */
  readonly padding: number;
  /** Columns reach from tab stop to tab stop, eight characters apart, and are filled with tabs. */
  readonly tabs?: boolean;
}

/** One space between columns: images, leases, namespaces, snapshots. */
export const NARROW: TableStyle = { minWidth: 1, padding: 1 };
/** Four spaces between columns: plugins, containers, tasks. */
export const WIDE: TableStyle = { minWidth: 4, padding: 4 };
/** Tabs between columns: content. */
export const TABBED: TableStyle = { minWidth: 1, padding: 1, tabs: true };

const TAB_STOP = 8;

/**
 * This sets lines in columns. Every cell but the last of its line belongs to a column, which reaches over the lines that follow
 * each other and have it; a last cell is written as it is. So a line that shall be padded to its end has an empty last cell.
 *
 * @see Go's text/tabwriter, whose columns the output of containerd's ctr has
 */
export function formatTable(rows: readonly (readonly string[])[], style: TableStyle): string {
  const widths = rows.map((): number[] => []);
  const columns = rows.reduce((most, row) => Math.max(most, row.length - 1), 0);
  for (let column = 0; column < columns; column += 1) {
    for (let start = 0; start < rows.length;) {
      if (!hasColumn(rows[start], column)) {
        start += 1;
        continue;
      }
      let end = start;
      while (hasColumn(rows[end], column)) end += 1;
      const width = columnWidth(rows.slice(start, end), column, style);
      for (; start < end; start += 1) widths[start]?.push(width);
    }
  }
  return rows.map((row, index) => `${formatRow(row, widths[index] ?? [], style)}\n`).join("");
}

function hasColumn(row: readonly string[] | undefined, column: number): boolean {
  return row !== undefined && column < row.length - 1;
}

function columnWidth(rows: readonly (readonly string[])[], column: number, style: TableStyle): number {
  const width = rows.reduce((most, row) => Math.max(most, widthOf(row[column] ?? "") + style.padding), style.minWidth);
  return style.tabs === true ? Math.ceil(width / TAB_STOP) * TAB_STOP : width;
}

function formatRow(row: readonly string[], widths: readonly number[], style: TableStyle): string {
  return row
    .map((cell, column) => {
      const missing = (widths[column] ?? 0) - widthOf(cell);
      if (column === row.length - 1 || missing <= 0) return cell;
      return cell + (style.tabs === true ? "\t".repeat(Math.ceil(missing / TAB_STOP)) : " ".repeat(missing));
    })
    .join("");
}

function widthOf(text: string): number {
  // Most cells are ASCII: their length is their width.
  return /^[\x20-\x7e]*$/.test(text) ? text.length : [...text].length;
}
