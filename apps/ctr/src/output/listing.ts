import { invalidArgument } from "@berth/errors";

import type { FlagValues } from "../cli/flags.ts";
import { booleanFlag, stringFlag } from "../cli/flags.ts";
import { print } from "./print.ts";
import type { TableStyle } from "./table.ts";
import { formatTable } from "./table.ts";

/** How a listing is written. */
export const formatFlag = stringFlag("table or json", { initial: "table", values: ["table", "json"] });

/** The flags of a listing whose items have names. */
export const LISTING_FLAGS = {
  quiet: booleanFlag("print only names, ids or digests", { aliases: ["q"] }),
  format: formatFlag,
};

/** One listing in each of the forms in which it can be printed. */
export interface Listing<T> {
  readonly style: TableStyle;
  readonly header: readonly string[];
  readonly row: (item: T) => readonly string[] | Promise<readonly string[]>;
  /** What `--quiet` prints of an item. */
  readonly name?: (item: T) => string;
  /** What `--format json` prints of it: where it is an object of containerd's, the protobuf JSON of that. */
  readonly json: (item: T) => unknown;
  /** An empty table is not printed at all. */
  readonly silentWhenEmpty?: boolean;
}

/**
 * This prints items as the flags ask for: their names, a table, or a JSON array with an item on each line. Names and JSON are written as the
 * items come, a table in the end.
 *
 * @throws invalid_argument - the format is none
 */
export async function printListing<T>(
  items: AsyncIterable<T> | Iterable<T>,
  flags: Partial<FlagValues<typeof LISTING_FLAGS>>,
  listing: Listing<T>,
): Promise<void> {
  const isJson = isJsonFormat(flags.format ?? "");
  const { name } = listing;
  if (flags.quiet === true && name !== undefined) {
    for await (const item of items) print(`${name(item)}\n`);
  } else if (isJson) {
    await printJson(items, listing);
  } else {
    const rows = await Array.fromAsync(items, (item) => listing.row(item));
    if (rows.length > 0 || listing.silentWhenEmpty !== true) {
      print(formatTable([listing.header, ...rows], listing.style));
    }
  }
}

/** This reads the value of {@link formatFlag}. @throws invalid_argument */
export function isJsonFormat(format: string): boolean {
  if (format === "json") return true;
  if (format === "table" || format === "") return false;
  throw invalidArgument(`unknown format ${JSON.stringify(format)}: expected table or json`);
}

async function printJson<T>(items: AsyncIterable<T> | Iterable<T>, { json }: Listing<T>): Promise<void> {
  let separator = "[\n";
  for await (const item of items) {
    print(`${separator}${JSON.stringify(await json(item))}`);
    separator = ",\n";
  }
  print(separator === "[\n" ? "[]\n" : "\n]\n");
}
