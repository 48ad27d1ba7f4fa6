import { once } from "node:events";
import { createReadStream, createWriteStream } from "node:fs";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { join } from "node:path";

import { debianTool, temporaryDirectory } from "@berth/testing";

import { startMeasured } from "../daemons.ts";
import type { Figure } from "../figure.ts";
import { alternate } from "../figure.ts";
import { mountMemory } from "../mounts.ts";
import { cpuSeconds } from "../processes.ts";

const MIB = 2 ** 20;
const SIZE_MIB = 1024;

/** One blob of 1 GiB of noise through the content service, from memory to a disk, by Go's `ctr content ingest`. */
export const ingest: Figure = {
  name: "ingest",
  rounds: 5,
  async measure(context) {
    await using directory = await temporaryDirectory("ingest");
    await using memory = await mountMemory(directory.path);
    const file = join(memory.path, "noise");
    await writeNoise(file);
    const samples = await alternate(context, async (side) => {
      await using measured = await startMeasured(side);
      const before = await cpuSeconds(measured.daemon.pid);
      const started = performance.now();
      await ingestFile(measured.daemon.address, file);
      const seconds = (performance.now() - started) / 1000;
      return { rate: SIZE_MIB / seconds, cpuS: (await cpuSeconds(measured.daemon.pid)) - before };
    });
    return [
      {
        label: "content ingest of 1 GiB",
        unit: "MiB/s",
        berth: samples.berth.map(({ rate }) => rate),
        other: samples.containerd.map(({ rate }) => rate),
        target: { ratio: 1.2, bound: "at least" },
      },
      {
        label: "  processor time of the daemon",
        unit: "s",
        berth: samples.berth.map(({ cpuS }) => cpuS),
        other: samples.containerd.map(({ cpuS }) => cpuS),
      },
    ];
  },
};

async function writeNoise(file: string): Promise<void> {
  const stream = createWriteStream(file);
  for (let written = 0; written < SIZE_MIB; written += 1) {
    if (!stream.write(randomBytes(MIB))) await once(stream, "drain");
  }
  stream.end();
  await once(stream, "close");
}

async function ingestFile(address: string, file: string): Promise<void> {
  const source = createReadStream(file, { highWaterMark: MIB });
  await once(source, "open");
  // The file itself is the input of the command: nothing of this process is in between.
  const child = spawn(debianTool("ctr"), ["--address", address, "content", "ingest", "noise"], {
    stdio: [source, "ignore", "inherit"],
  });
  const [code] = (await once(child, "close")) as [number | null];
  source.destroy();
  if (code !== 0) throw new Error(`ctr content ingest ended with ${code}`);
}
