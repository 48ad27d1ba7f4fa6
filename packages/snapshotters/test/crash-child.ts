// A process that commits and removes snapshots until it is killed, and says what was acknowledged: crash-child.ts <root> <driver>.
import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { writeSync } from "node:fs";
import { join } from "node:path";

import { activateMounts } from "./activate-mounts.ts";
import { CRASH_DRIVERS } from "./crash-drivers.ts";

const [root = "", name = ""] = process.argv.slice(2);
const driver = CRASH_DRIVERS[name];
if (driver === undefined) throw new Error(`no driver ${name}`);
await mkdir(root, { recursive: true });
await using snapshotter = await driver.open(root);
const options = driver.labels === undefined ? {} : { labels: driver.labels };
const say = (line: string): void => void writeSync(1, `${line}\n`);

async function lane(lane: string): Promise<never> {
  const place = await mkdtemp(join(root, `../lane-${lane}-`));
  await mkdir(join(place, "target"));
  for (let index = 0; ; index += 1) {
    const [key, committed] = [`${lane}-key-${index}`, `${lane}-${index}`];
    const mounts = await snapshotter.prepare(key, "", options);
    {
      await using _mounted = await activateMounts(mounts, join(place, "target"), place);
      await writeFile(join(place, "target/file"), committed);
    }
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
