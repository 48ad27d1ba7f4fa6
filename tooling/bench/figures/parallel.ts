import { BUSYBOX_IMAGE } from "@berth/testing";

import { startBoth } from "../daemons.ts";
import type { Figure, Side } from "../figure.ts";
import { alternate } from "../figure.ts";
import { timed } from "../time-command.ts";

const AT_ONCE = 20;

/** Containers run at the same time, until the last has ended. */
export const parallel: Figure = {
  name: "parallel",
  rounds: 5,
  async measure(context) {
    await using daemons = await startBoth();
    const runAll = (side: Side, prefix: string, count: number): Promise<readonly string[]> =>
      Promise.all(
        Array.from({ length: count }, (_, index) =>
          daemons[side].ctr(["run", "--rm", BUSYBOX_IMAGE, `${prefix}-${index}`, "true"]),
        ),
      );
    for (const side of ["berth", "containerd"] as const) await runAll(side, "warm", 2);
    const samples = await alternate(
      context,
      async (side, round) => (await timed(() => runAll(side, `round-${round}`, AT_ONCE))).ms,
    );
    return [
      {
        label: `${AT_ONCE} × ctr run --rm at once`,
        unit: "ms",
        berth: samples.berth,
        other: samples.containerd,
        target: { ratio: 0.8, bound: "at most" },
      },
    ];
  },
};
