import { readSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

import { systemErrorCode } from "@berth/errors";
import { setNonBlocking } from "@berth/linux/files";
import { openPty } from "@berth/linux/terminal";
import { describe, expect, it } from "vitest";

import { openFileSink } from "./byte-sink.ts";

const MORE_THAN_A_TERMINAL_HOLDS = 200_000;

function readSome(descriptor: number): number {
  try {
    return readSync(descriptor, new Uint8Array(65_536));
  } catch (error) {
    if (systemErrorCode(error) === "EAGAIN") return 0;
    throw error;
  }
}

describe("a device that is written to by its path", () => {
  it("gets all of it, however long its reader pauses", async () => {
    using pty = openPty();
    setNonBlocking(pty.master);
    const sink = await openFileSink(`/proc/self/fd/${pty.slave}`);
    const written = sink.write(new Uint8Array(MORE_THAN_A_TERMINAL_HOLDS).fill(0x61));
    await sleep(50);
    let count = 0;
    for (; count < MORE_THAN_A_TERMINAL_HOLDS; await sleep(1)) count += readSome(pty.master);
    await written;
    expect(count).toBe(MORE_THAN_A_TERMINAL_HOLDS);
    sink.close();
  });

  it("keeps nobody waiting who closes it", async () => {
    using pty = openPty();
    const sink = await openFileSink(`/proc/self/fd/${pty.slave}`);
    const written = sink.write(new Uint8Array(MORE_THAN_A_TERMINAL_HOLDS).fill(0x61));
    await sleep(50);
    sink.close();
    await written;
  });
});
