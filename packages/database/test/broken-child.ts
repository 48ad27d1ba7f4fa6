// Fills a database under a limit of the size of files, which fails writes in a way that LMDB does not know; tells what came of it.
import { codeOf } from "@berth/errors";

import { Database } from "../src/index.ts";

const [path = ""] = process.argv.slice(2);
// Its default is to end the process; the write fails either way.
process.on("SIGXFSZ", () => {});
let fatal = 0;
await using database = await Database.open({ path, mapSizeBytes: 1024 ** 3, fatal: () => void (fatal += 1) });
const put = (index: number) => database.update((tx) => tx.put(Uint8Array.of(index), new Uint8Array(64 * 1024)));
const codes = [];
for (let index = 1; index <= 24; index++) codes.push(await put(index).then(() => 0, codeOf));
codes.push(...(await Promise.all([1, 2].map((index) => put(index).then(() => 0, codeOf)))));
console.log(JSON.stringify({ fatal, codes: [...new Set(codes)], first: database.has(Uint8Array.of(1)) }));
