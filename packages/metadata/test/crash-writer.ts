import { writeSync } from "node:fs";

import { parseDigest } from "@berth/oci";

import { openStorage } from "./daemon-storage.ts";

/** Writes until it is killed, and says on standard output what has been acknowledged, a line each. */
const [root = "", run = ""] = process.argv.slice(2);
const { stores } = await openStorage({ root });
const target = { mediaType: "m", digest: parseDigest(`sha256:${"a".repeat(64)}`), size: 1 };

async function work(worker: number): Promise<void> {
  const snapshotter = stores.snapshotter("native");
  for (let index = 0; ; index++) {
    const name = `${run}-${worker}-${index}`;
    await stores.images.create({ name, labels: new Map([["long", "x".repeat(2000)]]), target });
    writeSync(1, `image ${name}\n`);
    if (index % 5 === 0) {
      await snapshotter.prepare(name, "");
      writeSync(1, `snapshot ${name}\n`);
    }
    if (index % 3 !== 2) continue;
    await stores.images.delete(name);
    writeSync(1, `deleted ${name}\n`);
  }
}

await Promise.all([0, 1, 2, 3].map(work));
