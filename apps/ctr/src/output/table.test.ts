import { describe, expect, it } from "vitest";

import { formatTable, NARROW, TABBED, WIDE } from "./table.ts";

// The expected texts are what Go's text/tabwriter makes of the same cells.
describe("formatTable", () => {
  it.each([
    ["no rows", [], NARROW, ""],
    [
      "a padded last column",
      [
        ["A", "B", ""],
        ["long", "x", ""],
      ],
      NARROW,
      "A    B \nlong x \n",
    ],
    [
      "a last cell that is no column",
      [
        ["A", "B"],
        ["long", "x"],
      ],
      NARROW,
      "A    B\nlong x\n",
    ],
    [
      "wide columns",
      [
        ["A", "B", ""],
        ["x", "", ""],
      ],
      WIDE,
      "A    B    \nx         \n",
    ],
    ["blocks of their own", [["a", "b"], ["alone"], ["longer", "c"]], NARROW, "a b\nalone\nlonger c\n"],
    [
      "a column that only some lines have",
      [
        ["a", "b", ""],
        ["long", "c"],
        ["x", "yy", ""],
      ],
      NARROW,
      "a    b \nlong c\nx    yy \n",
    ],
    [
      "tabs",
      [
        ["DIGEST", "SIZE"],
        ["0123456789", "1B"],
      ],
      TABBED,
      "DIGEST\t\tSIZE\n0123456789\t1B\n",
    ],
    [
      "letters beyond ASCII",
      [
        ["é𝒳", "x", ""],
        ["abc", "y", ""],
      ],
      NARROW,
      "é𝒳  x \nabc y \n",
    ],
  ])("sets %s", (_name, rows, style, expected) => {
    expect(formatTable(rows, style)).toBe(expected);
  });

  it("sets more rows than a call may have arguments", () => {
    const rows = Array.from({ length: 200_000 }, () => ["a", "b"]);
    expect(formatTable(rows, NARROW)).toHaveLength(rows.length * "a b\n".length);
  });
});
