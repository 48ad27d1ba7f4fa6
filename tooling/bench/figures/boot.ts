import type { BootPlace, BootTimes } from "../boot-once.ts";
import { bootOnce } from "../boot-once.ts";
import { startMeasured } from "../daemons.ts";
import type { Figure, Side, Sides } from "../figure.ts";
import { alternate } from "../figure.ts";

const READY_TARGET_MS = 1000;

/** From the start of the process to its first answer, and to "successfully booted" in its log, on a root that is there already. */
export const boot: Figure = {
  name: "boot",
  rounds: 10,
  async measure(context) {
    await using berth = await startMeasured("berth");
    await using containerd = await startMeasured("containerd");
    const places: Sides<BootPlace> = {
      berth: { directory: berth.directory, address: berth.daemon.address },
      containerd: { directory: containerd.directory, address: containerd.daemon.address },
    };
    let times: Sides<readonly BootTimes[]> | undefined;
    // Their own daemons are down while others boot in their place.
    await berth.daemon.restart({
      whileDown: () =>
        containerd.daemon.restart({
          whileDown: async () => {
            times = await alternate(context, (side) => bootOnce(side, places[side]));
          },
        }),
    });
    const of = (key: keyof BootTimes, side: Side): number[] => (times?.[side] ?? []).map((sample) => sample[key]);
    const rowOf = (label: string, key: keyof BootTimes) =>
      ({ label, unit: "ms", berth: of(key, "berth"), other: of(key, "containerd") }) as const;
    const target = { value: READY_TARGET_MS, bound: "at most" } as const;
    return [
      { ...rowOf("boot to the first answer", "answersMs"), target },
      { ...rowOf('boot to "successfully booted"', "bootedMs"), target },
    ];
  },
};
