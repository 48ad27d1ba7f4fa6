import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

import { describe, expect, it } from "vitest";

import { openOverlaySnapshotter } from "../src/overlayfs.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

/** Runs the child for a while and kills it; returns what it said. */
async function runAndKill(root: string, milliseconds: number): Promise<string[]> {
  const child = join(import.meta.dirname, "crash-child.ts");
  const process_ = spawn(process.execPath, ["--conditions=@berth/source", child, root], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(process_, "exit");
  const said: string[] = [];
  const lines = createInterface({ input: process_.stdout });
  const ready = once(lines, "line");
  lines.on("line", (line) => said.push(line));
  await ready;
  await sleep(milliseconds);
  process_.kill("SIGKILL");
  await exited;
  return said;
}

describe("a process killed while it commits and removes", () => {
  it("loses no acknowledged commit, brings nothing removed back, and leaves a store that goes on", async () => {
    await using directory = await temporaryDirectory();
    const committed = new Set<string>();
    const removed = new Set<string>();
    const uncertain = new Set<string>();
    for (const milliseconds of [40, 130, 260]) {
      const root = join(directory.path, String(milliseconds));
      for (const line of await runAndKill(root, milliseconds)) {
        const [verb, name = ""] = line.split(" ");
        if (verb === "committed") committed.add(name);
        if (verb === "removing") uncertain.add(name);
        if (verb === "removed") removed.add(name);
      }
      const { snapshotter } = await openOverlaySnapshotter({ root });
      await using _snapshotter = snapshotter;
      const infos = await Array.fromAsync(snapshotter.list());
      const present = new Set(infos.map(({ name }) => name));
      for (const name of committed) if (!uncertain.has(name)) expect(present).toContain(name);
      for (const name of removed) expect(present).not.toContain(name);

      await snapshotter.cleanup?.();
      expect(await readdir(join(root, "snapshots"))).toHaveLength(infos.length);
      for (const { name, kind } of infos) {
        if (kind !== "committed") await snapshotter.remove(name);
        else {
          const [mount] = await snapshotter.view(`look-${name}`, name);
          expect(await readFile(join(mount?.source ?? "", "file"), "utf8")).toBe(name);
        }
      }
      await snapshotter.prepare("fresh", "");
      for (const names of [committed, removed, uncertain]) names.clear();
    }
  });
});
