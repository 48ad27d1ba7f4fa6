import { join } from "node:path";

import { startMeasured } from "../daemons.ts";
import type { Figure, Side } from "../figure.ts";
import { alternate } from "../figure.ts";
import { mustRun } from "../must-run.ts";
import { cpuSeconds } from "../processes.ts";
import { answersVersion, VERSION_PATH } from "../version-call.ts";

const LOAD_CLIENT = join(import.meta.dirname, "..", "rpc-load.ts");
const IN_FLIGHT = 64;
const SECONDS = 3;

/** Unary calls over one connection: how many are answered each second, and what processor time of the daemon one costs. */
export const rpc: Figure = {
  name: "rpc",
  rounds: 5,
  async measure(context) {
    await using berth = await startMeasured("berth");
    await using containerd = await startMeasured("containerd");
    const daemons = { berth: berth.daemon, containerd: containerd.daemon };
    const measure = async (side: Side): Promise<{ readonly rate: number; readonly cpuUs: number }> => {
      const { address, pid } = daemons[side];
      if (!(await answersVersion(address))) throw new Error(`${side} does not answer ${VERSION_PATH}`);
      const before = await cpuSeconds(pid);
      const args = [LOAD_CLIENT, address, VERSION_PATH, String(IN_FLIGHT), String(SECONDS)];
      // Its own line, printed by rpc-load.ts.
      const result = JSON.parse(await mustRun(process.execPath, args)) as {
        calls: number;
        total: number;
        seconds: number;
      };
      const cpuUs = (((await cpuSeconds(pid)) - before) / result.total) * 1e6;
      return { rate: result.calls / result.seconds, cpuUs };
    };
    const samples = await alternate(context, measure);
    return [
      {
        label: `unary calls, ${IN_FLIGHT} in flight`,
        unit: "calls/s",
        berth: samples.berth.map(({ rate }) => rate),
        other: samples.containerd.map(({ rate }) => rate),
        target: { ratio: 0.4, bound: "at least" },
      },
      {
        label: "  processor time of the daemon per call",
        unit: "µs",
        berth: samples.berth.map(({ cpuUs }) => cpuUs),
        other: samples.containerd.map(({ cpuUs }) => cpuUs),
      },
    ];
  },
};
