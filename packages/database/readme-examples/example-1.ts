declare const key: Uint8Array;
declare const start: Uint8Array;
declare const end: Uint8Array;
declare function stop(error: unknown): void;
declare function changed(value: Uint8Array | undefined): Uint8Array;
declare function print(key: Uint8Array, value: Uint8Array): void;

import { Database } from "@berth/database";

await using database = await Database.open({
  path: "/var/lib/example/example.mdb",
  mapSizeBytes: 4 * 1024 ** 3, // address space, not memory
  fatal: (error) => stop(error),
});
const before = await database.update((tx) => {
  const value = tx.get(key);
  tx.put(key, changed(value));
  return value;
});
for (const entry of database.range({ start, end })) print(entry.key, entry.value);

export {};
