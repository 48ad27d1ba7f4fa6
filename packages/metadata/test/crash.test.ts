import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

import { temporaryDirectory } from "@berth/testing";
import { describe, expect, it } from "vitest";

import { openStorage } from "./daemon-storage.ts";

const ROUNDS = 5;

/** This runs the writer until it has acknowledged some writes, kills it, and returns what it had said. */
async function writeAndKill(root: string, round: number): Promise<string[]> {
  const script = fileURLToPath(new URL("crash-writer.ts", import.meta.url));
  const child = spawn(process.execPath, ["--conditions=@berth/source", script, root, String(round)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.setEncoding("utf8");
  for await (const chunk of child.stdout) {
    output += String(chunk);
    if (output.length > 4000 + round * 777) child.kill("SIGKILL");
  }
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  expect(child.signalCode).toBe("SIGKILL");
  // The last line may be half.
  return output.split("\n").slice(0, -1);
}

describe("openMetadata after SIGKILL", () => {
  it(`has every acknowledged write, in ${ROUNDS} rounds`, async () => {
    await using directory = await temporaryDirectory("metadata");
    const images = new Set<string>();
    const gone = new Set<string>();
    const snapshots = new Set<string>();
    for (let round = 0; round < ROUNDS; round++) {
      for (const line of await writeAndKill(directory.path, round)) {
        const [what, name = ""] = line.split(" ");
        if (what === "image") images.add(name);
        if (what === "snapshot") snapshots.add(name);
        if (what === "deleted") gone.add(name);
      }
      await using storage = await openStorage({ root: directory.path });
      const found = new Set((await Array.fromAsync(storage.stores.images.list())).map(({ name }) => name));
      const lost = [...images].filter((name) => !gone.has(name) && !found.has(name));
      // A delete may have been committed and its acknowledgement lost: at most one for each of the four workers.
      expect(lost.length).toBeLessThanOrEqual(4 * (round + 1));
      expect(lost.filter((name) => !isDeletedNext(name))).toEqual([]);
      expect([...gone].filter((name) => found.has(name))).toEqual([]);
      const listed = await Array.fromAsync(storage.stores.snapshotter("native").list());
      expect([...snapshots].filter((name) => !listed.some((each) => each.name === name))).toEqual([]);
    }
    expect(images.size).toBeGreaterThan(ROUNDS * 20);
  });
});

/** The writer deletes each third image right after making it. */
function isDeletedNext(name: string): boolean {
  return Number(name.split("-")[2]) % 3 === 2;
}
