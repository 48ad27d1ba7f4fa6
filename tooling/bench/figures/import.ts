import { readFile, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

import { debianTool, launcher } from "@berth/testing";

import { startMeasured } from "../daemons.ts";
import type { Figure, FigureContext, Row, Side, Target } from "../figure.ts";
import { alternate } from "../figure.ts";
import { MINBASE_IMAGE, minbaseImage } from "../minbase-image.ts";
import { mustRun } from "../must-run.ts";
import { childrenCpuSeconds, cpuSeconds } from "../processes.ts";
import { TEN_LAYER_IMAGE, tenLayerImage } from "../ten-layer-image.ts";
import { timed } from "../time-command.ts";

const SETTLE_MS = 1000;
const CPU_RATIO = 0.85;

interface ImageToImport {
  readonly name: string;
  readonly label: string;
  archive(progress: FigureContext["progress"]): Promise<string>;
}

const MINBASE: ImageToImport = { name: MINBASE_IMAGE, label: "Debian minbase", archive: minbaseImage };
const TEN_LAYERS: ImageToImport = { name: TEN_LAYER_IMAGE, label: "ten layers of 50 MB", archive: tenLayerImage };

/** Whose `ctr` imports: Debian's into both daemons, or each daemon's own. */
type Client = "Go ctr" | "own ctr";

/** Import and unpack of an image into an empty root: how long the command takes, and what processor time it and the daemon spend. */
export const importImage = importFigure("import", MINBASE, "Go ctr", 0.9);
export const importOwn = importFigure("import-own", MINBASE, "own ctr", 0.8);
export const importTen = importFigure("import-ten", TEN_LAYERS, "Go ctr", 0.9);
export const importTenOwn = importFigure("import-ten-own", TEN_LAYERS, "own ctr", 0.6);

function importFigure(name: string, image: ImageToImport, client: Client, ratio: number): Figure {
  return {
    name,
    rounds: 7,
    async measure(context) {
      const archive = await image.archive(context.progress);
      const samples = await alternate(context, (side) => importOnce(side, archive, image, client));
      const rowOf = (label: string, key: keyof Sample, target?: Target): Row => ({
        label,
        unit: "s",
        berth: samples.berth.map((sample) => sample[key]),
        other: samples.containerd.map((sample) => sample[key]),
        ...(target && { target }),
      });
      return [
        rowOf(`import of ${image.label}, ${client}`, "wallS", { ratio, bound: "at most" }),
        rowOf("  processor time of the daemon", "daemonCpuS", { ratio: CPU_RATIO, bound: "at most" }),
        rowOf("  processor time of daemon and client", "cpuS"),
      ];
    },
  };
}

interface Sample {
  readonly wallS: number;
  readonly daemonCpuS: number;
  readonly cpuS: number;
}

async function importOnce(side: Side, archive: string, image: ImageToImport, client: Client): Promise<Sample> {
  await using measured = await startMeasured(side);
  const program = client === "own ctr" && side === "berth" ? launcher("ctr") : debianTool("ctr");
  const ctr = (...args: readonly string[]): Promise<string> =>
    mustRun(program, ["--address", measured.daemon.address, ...args], { timeoutMs: 300_000 });
  await coolDown(archive);
  // Loads the client, which the cold cache has forgotten too.
  await ctr("version");
  await sleep(SETTLE_MS);
  const before = await cpuSeconds(measured.daemon.pid);
  const clientBefore = await childrenCpuSeconds();
  const { ms } = await timed(() => ctr("image", "import", archive));
  const clientCpuS = (await childrenCpuSeconds()) - clientBefore;
  const daemonCpuS = (await cpuSeconds(measured.daemon.pid)) - before;
  const check = await measured.ctr(["image", "check"]);
  if (!new RegExp(`^${image.name} .*\\bcomplete\\b.* true`, "m").test(check)) {
    throw new Error(`${side}: the image is not complete and unpacked:\n${check}`);
  }
  return { wallS: ms / 1000, daemonCpuS, cpuS: daemonCpuS + clientCpuS };
}

/** The same page cache for both: nothing that the last run has left, and the archive read once. */
async function coolDown(archive: string): Promise<void> {
  await mustRun("sync", []);
  await writeFile("/proc/sys/vm/drop_caches", "3");
  await readFile(archive);
}
