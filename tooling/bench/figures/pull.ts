import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

import type { ImageManifest } from "@berth/oci";
import { MediaType } from "@berth/oci";
import type { PeerRegistry } from "@berth/testing";
import { debianTool, launcher, startRegistry, startRegistryRelay } from "@berth/testing";

import { startMeasured } from "../daemons.ts";
import type { Figure, FigureContext, Row, Side } from "../figure.ts";
import { alternate } from "../figure.ts";
import { MINBASE_IMAGE, minbaseImage } from "../minbase-image.ts";
import { mustRun } from "../must-run.ts";
import { cpuSeconds } from "../processes.ts";
import { TEN_LAYER_IMAGE, tenLayerImage } from "../ten-layer-image.ts";
import { timed } from "../time-command.ts";

const SETTLE_MS = 1000;
const KIB_PER_MIB = 1024;
const MAX_PEAK_MIB = 250;
const SLOW_BYTES_PER_SECOND = 50e6;

type Client = "own ctr" | "Go ctr";

/** What is pulled. */
interface ImageToPull {
  readonly label: string;
  /** What the archive calls it. */
  readonly name: string;
  archive(progress: FigureContext["progress"]): Promise<string>;
}

const TEN_LAYERS: ImageToPull = { name: TEN_LAYER_IMAGE, label: "ten layers of 50 MB", archive: tenLayerImage };
const MINBASE: ImageToPull = { name: MINBASE_IMAGE, label: "Debian minbase", archive: minbaseImage };

/** Pull and unpack from a registry on this machine: each side's own `ctr`, or Go's on both. */
export const pullOwn = pullFigure("pull-own", TEN_LAYERS, "own ctr", 0.5);
export const pull = pullFigure("pull", TEN_LAYERS, "Go ctr", 1);
export const pullOne = pullFigure("pull-one", MINBASE, "own ctr", 0.7);

function pullFigure(name: string, what: ImageToPull, client: Client, ratio: number): Figure {
  return {
    name,
    rounds: 5,
    async measure(context) {
      await using registry = await startRegistry();
      const image = await fillRegistry(registry, what, context);
      const samples = await alternate(context, (side) => pullOnce(side, image, client));
      const rowOf = (label: string, key: keyof Sample, unit: Row["unit"]): Row => ({
        label,
        unit,
        berth: samples.berth.map((sample) => sample[key]),
        other: samples.containerd.map((sample) => sample[key]),
      });
      return [
        { ...rowOf(`pull of ${what.label}, ${client}`, "wallS", "s"), target: { ratio, bound: "at most" } },
        rowOf("  processor time of the daemon", "cpuS", "s"),
        {
          ...rowOf("  peak memory of the daemon", "peakMib", "MiB"),
          target: { value: MAX_PEAK_MIB, bound: "at most" },
        },
      ];
    },
  };
}

/** Pull from a registry that sends 50 MB in a second, beside a download of the same bytes, three blobs at a time, that keeps none. */
export const pullSlow: Figure = {
  name: "pull-slow",
  rounds: 3,
  async measure(context) {
    await using registry = await startRegistry();
    await using relay = await startRegistryRelay(registry.host, SLOW_BYTES_PER_SECOND);
    const filled = await fillRegistry(registry, TEN_LAYERS, context);
    const image = filled.replace(registry.host, relay.host);
    const samples = await alternate(context, async (side) =>
      side === "berth" ? (await pullOnce("berth", image, "own ctr")).wallS : await downloadOnce(image),
    );
    const row: Row = {
      label: `pull of ${TEN_LAYERS.label} at 50 MB/s, own ctr`,
      unit: "s",
      berth: samples.berth,
      other: samples.containerd,
      otherName: "download alone",
      target: { ratio: 1.1, bound: "at most" },
    };
    return [row];
  },
};

/** This fetches all layers of an image and returns the seconds that it took. */
async function downloadOnce(image: string): Promise<number> {
  const [, host = "", repository = "", tag = ""] = /^([^/]+)\/(.*):(.*)$/.exec(image) ?? [];
  const base = `http://${host}/v2/${repository}`;
  const { ms } = await timed(async () => {
    const headers = { accept: MediaType.ociManifest };
    // The registry is ours and has just been filled.
    const manifest = (await (await fetch(`${base}/manifests/${tag}`, { headers })).json()) as ImageManifest;
    const digests = manifest.layers.map(({ digest }) => digest).values();
    const worker = async (): Promise<void> => {
      for (const digest of digests) {
        const { body } = await fetch(`${base}/blobs/${digest}`);
        for await (const _ of body ?? []);
      }
    };
    await Promise.all([worker(), worker(), worker()]);
  });
  return ms / 1000;
}

interface Sample {
  readonly wallS: number;
  readonly cpuS: number;
  readonly peakMib: number;
}

async function fillRegistry(registry: PeerRegistry, what: ImageToPull, { progress }: FigureContext): Promise<string> {
  const archive = await what.archive(progress);
  const image = `${registry.host}/bench/image:1`;
  progress("filling the registry");
  await using berth = await startMeasured("berth");
  const ctr = (...args: readonly string[]): Promise<string> =>
    mustRun(launcher("ctr"), ["--address", berth.daemon.address, ...args], { timeoutMs: 300_000 });
  await ctr("images", "import", "--no-unpack", archive);
  await ctr("images", "push", "--plain-http", image, what.name);
  return image;
}

async function pullOnce(side: Side, image: string, client: Client): Promise<Sample> {
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
