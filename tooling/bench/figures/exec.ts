import { BUSYBOX_IMAGE } from "@berth/testing";

import { startBoth } from "../daemons.ts";
import type { Figure } from "../figure.ts";
import { alternate } from "../figure.ts";
import { timed } from "../time-command.ts";

const CONTAINER = "running";

/** The whole command `ctr task exec` in a container that runs already. */
export const exec: Figure = {
  name: "exec",
  rounds: 20,
  async measure(context) {
    await using daemons = await startBoth();
    const execOnce = (side: "berth" | "containerd", id: string): Promise<string> =>
      daemons[side].ctr(["task", "exec", "--exec-id", id, CONTAINER, "true"]);
    for (const side of ["berth", "containerd"] as const) {
      await daemons[side].ctr(["run", "-d", BUSYBOX_IMAGE, CONTAINER, "sleep", "100000"]);
      await execOnce(side, "warm");
    }
    const samples = await alternate(
      context,
      async (side, round) => (await timed(() => execOnce(side, `e${round}`))).ms,
    );
    return [
      {
        label: "ctr task exec true",
        unit: "ms",
        berth: samples.berth,
        other: samples.containerd,
        target: { ratio: 1, bound: "at most" },
      },
    ];
  },
};
