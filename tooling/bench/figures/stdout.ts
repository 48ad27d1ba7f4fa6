import { spawn } from "node:child_process";
import { once } from "node:events";

import { BUSYBOX_IMAGE, debianTool } from "@berth/testing";

import type { MeasuredDaemon } from "../daemons.ts";
import { shimsOf, startBoth } from "../daemons.ts";
import type { Figure, Row, Side } from "../figure.ts";
import { alternate } from "../figure.ts";
import { cpuSeconds } from "../processes.ts";
import { timed } from "../time-command.ts";

const CONTAINER = "talking";
const SIZE_MIB = 1024;
const US_PER_S = 1e6;

interface Sample {
  readonly mibPerS: number;
  readonly cpuUsPerMib: number;
}

/**
 * What a container writes as fast as it can, through the shim and the FIFO to Go's `ctr`, which reads it into nothing. Next to a
 * gibibyte the start of the process does not count.
 */
export const stdout: Figure = {
  name: "stdout",
  rounds: 10,
  async measure(context) {
    await using daemons = await startBoth();
    for (const side of ["berth", "containerd"] as const) {
      await daemons[side].ctr(["run", "-d", BUSYBOX_IMAGE, CONTAINER, "sleep", "100000"]);
      await writeOnce(daemons[side], "warm", 64);
    }
    const samples = await alternate(context, (side, round) => measureOnce(daemons[side], `e${round}`));
    const rowOf = (key: keyof Sample, row: Pick<Row, "label" | "unit" | "target">): Row => {
      const of = (side: Side): number[] => samples[side].map((sample) => sample[key]);
      return { ...row, berth: of("berth"), other: of("containerd") };
    };
    return [
      rowOf("mibPerS", {
        label: "output of a container to its client",
        unit: "MiB/s",
        target: { ratio: 1, bound: "at least" },
      }),
      rowOf("cpuUsPerMib", { label: "  processor time of the shim per MiB", unit: "µs" }),
    ];
  },
};

async function measureOnce(measured: MeasuredDaemon, execId: string): Promise<Sample> {
  const shimSeconds = async (): Promise<number> => {
    const each = await Promise.all((await shimsOf(measured)).map((pid) => cpuSeconds(pid)));
    return each.reduce((sum, seconds) => sum + seconds, 0);
  };
  const before = await shimSeconds();
  const { ms } = await timed(() => writeOnce(measured, execId, SIZE_MIB));
  const cpu = (await shimSeconds()) - before;
  return { mibPerS: SIZE_MIB / (ms / 1000), cpuUsPerMib: (cpu * US_PER_S) / SIZE_MIB };
}

/** The output goes nowhere: were it read here, this process would be what is measured. */
async function writeOnce({ daemon }: MeasuredDaemon, execId: string, sizeMib: number): Promise<void> {
  const command = ["busybox", "dd", "if=/dev/zero", "bs=64k", `count=${sizeMib * 16}`];
  const args = ["--address", daemon.address, "task", "exec", "--exec-id", execId, CONTAINER, ...command];
  const child = spawn(debianTool("ctr"), args, { stdio: "ignore" });
  // The arguments of "exit" are those of Node's documentation.
  const [code] = (await once(child, "exit")) as [number | null];
  if (code !== 0) throw new Error(`ctr task exec ended with ${code}`);
}
