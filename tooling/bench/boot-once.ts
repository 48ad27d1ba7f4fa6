import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { debianPath, debianTool, launcher } from "@berth/testing";

import type { Side, Sides } from "./figure.ts";
import { answersVersion } from "./version-call.ts";

const PROGRAM: Sides<string> = { berth: launcher("berthd"), containerd: debianTool("containerd") };
const DEADLINE_MS = 30_000;
const POLL_MS = 2;

/** Where a daemon has its configuration, and where it answers. */
export interface BootPlace {
  readonly directory: string;
  readonly address: string;
}

/** From the start of a daemon's process. */
export interface BootTimes {
  readonly answersMs: number;
  /** Until its log says "successfully booted". */
  readonly bootedMs: number;
}

/** This starts a daemon in a place where none runs, times it, calls `whileUp`, and stops it. */
export async function bootOnce(
  side: Side,
  { directory, address }: BootPlace,
  whileUp: () => Promise<void> = async () => {},
): Promise<BootTimes> {
  const started = performance.now();
  const child = spawn(PROGRAM[side], ["--config", join(directory, "config.toml")], {
    env: { ...process.env, PATH: debianPath() },
    stdio: ["ignore", "pipe", "pipe"],
  });
  try {
    const [bootedMs, answersMs] = await Promise.all([booted(child, started), answers(child, address, started)]);
    await whileUp();
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
