import { readFile } from "node:fs/promises";
import { availableParallelism, cpus, loadavg, release, totalmem } from "node:os";

import { debianTool, runProgram } from "@berth/testing";

/** This says on one line what the figures were measured on. */
export async function machineFacts(): Promise<string> {
  const containerd = await runProgram(debianTool("containerd"), ["--version"]);
  const runc = await runProgram(debianTool("runc"), ["--version"]);
  return [
    `${availableParallelism()} × ${cpus()[0]?.model.trim() ?? "unknown CPU"}`,
    `${Math.round(totalmem() / 2 ** 30)} GiB`,
    `Linux ${release()}`,
    `Node ${process.versions.node}`,
    `containerd ${containerd.stdout.split(/\s+/)[2] ?? "?"}`,
    `runc ${runc.stdout.split(/\s+/)[2] ?? "?"}`,
    await machineLoad(),
  ].join(" · ");
}

/** This says how busy the machine is: figures of a busy one are to be read as ratios, and with care. */
export async function machineLoad(): Promise<string> {
  const load = loadavg().map((value) => value.toFixed(1));
  const pressure = /^some avg10=([\d.]+)/.exec(await readFile("/proc/pressure/cpu", "utf8").catch(() => ""));
  return `load ${load.join(" ")}${pressure ? `, CPU pressure ${pressure[1]} %` : ""}`;
}
