import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

import type { PeerRegistry } from "@berth/testing";
import { debianTool, launcher, startRegistry } from "@berth/testing";

import { startMeasured } from "../daemons.ts";
import type { Figure, FigureContext, Row, Side } from "../figure.ts";
import { alternate } from "../figure.ts";
import { mustRun } from "../must-run.ts";
import { cpuSeconds } from "../processes.ts";
import { TEN_LAYER_IMAGE, tenLayerImage } from "../ten-layer-image.ts";
import { timed } from "../time-command.ts";

const SETTLE_MS = 1000;
const KIB_PER_MIB = 1024;
const MAX_PEAK_MIB = 250;

/** Pull and unpack of ten layers of about 50 MB from a registry on this machine: each side's own `ctr`, or Go's on both. */
export const pullOwn = pullFigure("pull-own", "own ctr", 0.5);
export const pull = pullFigure("pull", "Go ctr", 1);

function pullFigure(name: string, client: "own ctr" | "Go ctr", ratio: number): Figure {
  return {
    name,
    rounds: 5,
    async measure(context) {
      await using registry = await startRegistry();
      const image = await fillRegistry(registry, context);
      const samples = await alternate(context, (side) => pullOnce(side, image, client));
      const rowOf = (label: string, key: keyof Sample, unit: Row["unit"]): Row => ({
        label,
        unit,
        berth: samples.berth.map((sample) => sample[key]),
        other: samples.containerd.map((sample) => sample[key]),
      });
      return [
        { ...rowOf(`pull of ten layers of 50 MB, ${client}`, "wallS", "s"), target: { ratio, bound: "at most" } },
        rowOf("  processor time of the daemon", "cpuS", "s"),
        {
          ...rowOf("  peak memory of the daemon", "peakMib", "MiB"),
          target: { value: MAX_PEAK_MIB, bound: "at most" },
        },
      ];
    },
  };
}

interface Sample {
  readonly wallS: number;
  readonly cpuS: number;
  readonly peakMib: number;
}

async function fillRegistry(registry: PeerRegistry, { progress }: FigureContext): Promise<string> {
  const archive = await tenLayerImage(progress);
  const image = `${registry.host}/bench/ten-layers:1`;
  progress("filling the registry");
  await using berth = await startMeasured("berth");
  const ctr = (...args: readonly string[]): Promise<string> =>
    mustRun(launcher("ctr"), ["--address", berth.daemon.address, ...args], { timeoutMs: 300_000 });
  await ctr("images", "import", "--no-unpack", archive);
  await ctr("images", "push", "--plain-http", image, TEN_LAYER_IMAGE);
  return image;
}

async function pullOnce(side: Side, image: string, client: "own ctr" | "Go ctr"): Promise<Sample> {
  await using measured = await startMeasured(side);
  const program = client === "own ctr" && side === "berth" ? launcher("ctr") : debianTool("ctr");
  const ctr = (...args: readonly string[]): Promise<string> =>
    mustRun(program, ["--address", measured.daemon.address, ...args], { timeoutMs: 300_000 });
  await mustRun("sync", []);
  await ctr("version");
  await sleep(SETTLE_MS);
  const { pid } = measured.daemon;
  const before = await cpuSeconds(pid);
  const { ms } = await timed(() => ctr("image", "pull", "--plain-http", image));
  const cpuS = (await cpuSeconds(pid)) - before;
  const check = await measured.ctr(["image", "check"]);
  if (!new RegExp(`^${image} .*\\bcomplete\\b.* true`, "m").test(check)) {
    throw new Error(`${side}: the image is not complete and unpacked:\n${check}`);
  }
  return { wallS: ms / 1000, cpuS, peakMib: await peakMib(pid) };
}

async function peakMib(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1]) / KIB_PER_MIB;
}
