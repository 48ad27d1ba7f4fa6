import type { CollectibleItem } from "@berth/core/collector";
import { CollectibleKind } from "@berth/core/collector";
import { internal } from "@berth/errors";

import type { Table } from "../database/table.ts";

/** Above the prefixes of tables in the database. */
const FIRST_PREFIX = 0xe0;

/** What stands for things outside of the database among its tables while garbage is collected; never written. */
export const collectibleTables: Readonly<Record<CollectibleKind, Table<CollectibleItem>>> = {
  stream: collectibleTable("streams", CollectibleKind.stream),
  mount: collectibleTable("mounts", CollectibleKind.mount),
};

function collectibleTable(name: string, number: number): Table<CollectibleItem> {
  const refuse = (): never => {
    throw internal(`${name} are not in the database`);
  };
  return { name, prefix: FIRST_PREFIX + number, encode: refuse, decode: refuse, toJson: refuse };
}
