import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { debianPath, debianTool, launcher } from "@berth/testing";

import { startMeasured } from "../daemons.ts";
import type { Figure, Side, Sides } from "../figure.ts";
import { alternate } from "../figure.ts";
import { answersVersion } from "../version-call.ts";

const PROGRAM: Sides<string> = { berth: launcher("berthd"), containerd: debianTool("containerd") };
const DEADLINE_MS = 30_000;
const POLL_MS = 2;
const READY_TARGET_MS = 1000;

interface BootTimes {
  readonly answersMs: number;
  readonly bootedMs: number;
}

/** From the start of the process to its first answer, and to "successfully booted" in its log, on a root that is there already. */
export const boot: Figure = {
  name: "boot",
  rounds: 10,
  async measure(context) {
    await using berth = await startMeasured("berth");
    await using containerd = await startMeasured("containerd");
    const places: Sides<{ readonly directory: string; readonly address: string }> = {
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

async function bootOnce(
  side: Side,
  { directory, address }: { readonly directory: string; readonly address: string },
): Promise<BootTimes> {
  const started = performance.now();
  const child = spawn(PROGRAM[side], ["--config", join(directory, "config.toml")], {
    env: { ...process.env, PATH: debianPath() },
    stdio: ["ignore", "pipe", "pipe"],
  });
  try {
    const [bootedMs, answersMs] = await Promise.all([booted(child, started), answers(child, address, started)]);
    return { bootedMs, answersMs };
  } finally {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill("SIGTERM");
      await once(child, "exit");
    }
  }
}

async function booted(child: ChildProcess, started: number): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  let log = "";
  const read = (chunk: Buffer): void => {
    log = (log + chunk.toString()).slice(-8000);
    if (log.includes("successfully booted")) resolve(performance.now() - started);
  };
  child.stdout?.on("data", read);
  child.stderr?.on("data", read);
  child.once("error", reject);
  child.once("exit", (code) => reject(new Error(`the daemon ended with ${code}:\n${log}`)));
  return await promise;
}

async function answers(child: ChildProcess, address: string, started: number): Promise<number> {
  while (!(await answersVersion(address))) {
    if (performance.now() - started > DEADLINE_MS || child.exitCode !== null)
      throw new Error("the daemon does not answer");
    await sleep(POLL_MS);
  }
  return performance.now() - started;
}
