import { BUSYBOX_IMAGE } from "@berth/testing";

import type { BootTimes } from "../boot-once.ts";
import { bootOnce } from "../boot-once.ts";
import type { MeasuredDaemon } from "../daemons.ts";
import { startBoth } from "../daemons.ts";
import type { Figure, FigureContext, Side, Sides } from "../figure.ts";
import { alternate } from "../figure.ts";

const CONTAINERS = 50;
const READY_TARGET_MS = 2000;

/** From the start of the process to its first answer, with containers that have run since before it; all of them are then its tasks. */
export const restart: Figure = {
  name: "restart",
  rounds: 5,
  async measure(context) {
    await using daemons = await startBoth();
    const { berth, containerd } = daemons;
    for (const side of ["berth", "containerd"] as const) await runContainers(daemons[side], side, context);
    let times: Sides<readonly BootTimes[]> | undefined;
    const measureOnce = async (side: Side): Promise<BootTimes> => {
      const { daemon, directory } = daemons[side];
      return await bootOnce(side, { directory, address: daemon.address }, () => checkTasks(daemons[side]));
    };
    // Their own daemons are down while others boot in their place.
    await berth.daemon.restart({
      whileDown: () =>
        containerd.daemon.restart({
          whileDown: async () => {
            times = await alternate(context, measureOnce);
          },
        }),
    });
    const of = (side: Side): number[] => (times?.[side] ?? []).map(({ answersMs }) => answersMs);
    return [
      {
        label: `restart with ${CONTAINERS} containers to the first answer`,
        unit: "ms",
        berth: of("berth"),
        other: of("containerd"),
        target: { value: READY_TARGET_MS, bound: "at most" },
      },
    ];
  },
};

async function runContainers(daemon: MeasuredDaemon, side: Side, { signal, progress }: FigureContext): Promise<void> {
  for (let index = 0; index < CONTAINERS; index += 1) {
    signal.throwIfAborted();
    progress(`container ${index + 1} of ${CONTAINERS} of ${side}`);
    await daemon.ctr(["run", "-d", BUSYBOX_IMAGE, `long-${index}`, "sleep", "100000"]);
  }
}

/** @throws Error - a container is not running, or not known */
async function checkTasks(daemon: MeasuredDaemon): Promise<void> {
  const running = (await daemon.ctr(["task", "ls"])).split("\n").filter((line) => line.endsWith("RUNNING")).length;
  if (running !== CONTAINERS) throw new Error(`${running} of ${CONTAINERS} containers run after a restart`);
}
