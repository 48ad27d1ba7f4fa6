// A process that commits and removes snapshots until it is killed, and says what was acknowledged: crash-child.ts <root>.
import { writeFile } from "node:fs/promises";
import { writeSync } from "node:fs";
import { join } from "node:path";

import { openOverlaySnapshotter } from "../src/overlayfs.ts";

const root = process.argv[2] ?? "";
const { snapshotter } = await openOverlaySnapshotter({ root });
const say = (line: string): void => void writeSync(1, `${line}\n`);

async function lane(name: string): Promise<never> {
  for (let index = 0; ; index += 1) {
    const [key, committed] = [`${name}-key-${index}`, `${name}-${index}`];
    const [mount] = await snapshotter.prepare(key, "");
    await writeFile(join(mount?.source ?? "", "file"), committed);
    await snapshotter.commit(committed, key);
    say(`committed ${committed}`);
    if (index % 3 !== 0) continue;
    say(`removing ${committed}`);
    await snapshotter.remove(committed);
    say(`removed ${committed}`);
    if (index % 2 === 0) await snapshotter.cleanup?.();
  }
}

say("ready");
await Promise.all(["a", "b", "c"].map(lane));
