import { BUSYBOX_IMAGE } from "@berth/testing";

import { startBoth } from "../daemons.ts";
import type { Figure } from "../figure.ts";
import { alternate } from "../figure.ts";
import { timed } from "../time-command.ts";

const WARM_UP = 3;

/** The whole command `ctr run --rm`, from the start of the client to its end, on daemons that have run containers before. */
export const run: Figure = {
  name: "run",
  rounds: 30,
  async measure(context) {
    context.progress("starting both daemons");
    await using daemons = await startBoth();
    const runOnce = (side: "berth" | "containerd", id: string): Promise<string> =>
      daemons[side].ctr(["run", "--rm", BUSYBOX_IMAGE, id, "true"]);
    for (let turn = 0; turn < WARM_UP; turn += 1) {
      await runOnce("berth", `warm-${turn}`);
      await runOnce("containerd", `warm-${turn}`);
    }
    const samples = await alternate(
      context,
      async (side, round) => (await timed(() => runOnce(side, `run-${round}`))).ms,
    );
    return [
      {
        label: "ctr run --rm busybox true",
        unit: "ms",
        berth: samples.berth,
        other: samples.containerd,
        target: { ratio: 0.75, bound: "at most" },
      },
    ];
  },
};
