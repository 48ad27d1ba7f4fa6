import { readFile, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

import { startMeasured } from "../daemons.ts";
import type { Figure, Side } from "../figure.ts";
import { alternate } from "../figure.ts";
import { MINBASE_IMAGE, minbaseImage } from "../minbase-image.ts";
import { mustRun } from "../must-run.ts";
import { cpuSeconds } from "../processes.ts";
import { timed } from "../time-command.ts";

const SETTLE_MS = 1000;

/** Import and unpack of a Debian minbase image into an empty root: how long the command takes, and what processor time the daemon spends on it. */
export const importImage: Figure = {
  name: "import",
  rounds: 7,
  async measure(context) {
    const archive = await minbaseImage(context.progress);
    const samples = await alternate(context, (side) => importOnce(side, archive));
    const rowOf = (label: string, key: "wallS" | "cpuS") =>
      ({
        label,
        unit: "s",
        berth: samples.berth.map((sample) => sample[key]),
        other: samples.containerd.map((sample) => sample[key]),
        target: { ratio: 1, bound: "at most" },
      }) as const;
    return [rowOf("ctr image import, Debian minbase", "wallS"), rowOf("  processor time of the daemon", "cpuS")];
  },
};

async function importOnce(side: Side, archive: string): Promise<{ readonly wallS: number; readonly cpuS: number }> {
  await using measured = await startMeasured(side);
  await coolDown(archive);
  // Loads the client, which the cold cache has forgotten too.
  await measured.ctr(["version"]);
  await sleep(SETTLE_MS);
  const before = await cpuSeconds(measured.daemon.pid);
  const { ms } = await timed(() => measured.ctr(["image", "import", archive]));
  const cpuS = (await cpuSeconds(measured.daemon.pid)) - before;
  const check = await measured.ctr(["image", "check"]);
  if (!new RegExp(`^${MINBASE_IMAGE} .*\\bcomplete\\b.* true`, "m").test(check)) {
    throw new Error(`${side}: the image is not complete and unpacked:\n${check}`);
  }
  return { wallS: ms / 1000, cpuS };
}

/** The same page cache for both: nothing that the last run has left, and the archive read once. */
async function coolDown(archive: string): Promise<void> {
  await mustRun("sync", []);
  await writeFile("/proc/sys/vm/drop_caches", "3");
  await readFile(archive);
}
