import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import type { PeerRegistry } from "@berth/testing";
import { debianTool, launcher, startRegistry } from "@berth/testing";

import { startMeasured } from "../daemons.ts";
import type { Figure, Row, Side } from "../figure.ts";
import { alternate } from "../figure.ts";
import { mustRun } from "../must-run.ts";
import { childrenCpuSeconds, cpuSeconds } from "../processes.ts";
import { TEN_LAYER_IMAGE, tenLayerImage } from "../ten-layer-image.ts";
import { timed } from "../time-command.ts";

const SETTLE_MS = 1000;

/** Whose `ctr`: that of each side, or Debian's for both. */
type Client = "own" | "Go";

/** Arguments of `ctr`, of whichever side, for an image that is there. */
type Send = (place: {
  readonly directory: string;
  readonly registry: PeerRegistry;
  readonly round: number;
}) => readonly string[];

/** Sending of ten layers of about 50 MB, by each side's own `ctr` or Debian's on both: to a registry on this machine that has none of them, and to a file on the daemon's disk. */
const pushTo: Send = ({ registry, round }) => [
  "push",
  "--plain-http",
  // A registry takes nothing over from another repository unasked.
  `${registry.host}/bench/image-${round}-${Date.now()}:1`,
  TEN_LAYER_IMAGE,
];
export const push = sendFigure("push", "push", "own", pushTo);
export const pushByGo = sendFigure("push-go", "push", "Go", pushTo);
const exportTo: Send = ({ directory }) => ["export", join(directory, "exported.tar"), TEN_LAYER_IMAGE];
export const exportImage = sendFigure("export", "export", "own", exportTo);
export const exportByGo = sendFigure("export-go", "export", "Go", exportTo);

function sendFigure(name: string, label: string, client: Client, send: Send): Figure {
  return {
    name,
    rounds: 5,
    async measure(context) {
      const archive = await tenLayerImage(context.progress);
      await using registry = await startRegistry();
      const samples = await alternate(context, (side, round) =>
        sendOnce(side, round, { archive, registry, client, send }),
      );
      const rowOf = (text: string, key: keyof Sample): Row => ({
        label: text,
        unit: "s",
        berth: samples.berth.map((sample) => sample[key]),
        other: samples.containerd.map((sample) => sample[key]),
      });
      return [
        { ...rowOf(`${label} of ten layers of 50 MB, ${client} ctr`, "wallS"), target: { ratio: 1, bound: "at most" } },
        rowOf("  processor time of daemon and client", "cpuS"),
      ];
    },
  };
}

interface Sample {
  readonly wallS: number;
  readonly cpuS: number;
}

async function sendOnce(
  side: Side,
  round: number,
  {
    archive,
    registry,
    client,
    send,
  }: { readonly archive: string; readonly registry: PeerRegistry; readonly client: Client; readonly send: Send },
): Promise<Sample> {
  await using measured = await startMeasured(side);
  const program = side === "berth" && client === "own" ? launcher("ctr") : debianTool("ctr");
  const ctr = (...args: readonly string[]): Promise<string> =>
    mustRun(program, ["--address", measured.daemon.address, ...args], { timeoutMs: 300_000 });
  await ctr("images", "import", "--no-unpack", archive);
  await mustRun("sync", []);
  await sleep(SETTLE_MS);
  const { pid } = measured.daemon;
  const before = (await cpuSeconds(pid)) + (await childrenCpuSeconds());
  const { ms } = await timed(() => ctr("images", ...send({ directory: measured.directory, registry, round })));
  const cpuS = (await cpuSeconds(pid)) + (await childrenCpuSeconds()) - before;
  // What was pushed is of no more use, and would fill the disk.
  await rm(join(registry.directory, "data"), { recursive: true, force: true });
  return { wallS: ms / 1000, cpuS };
}
