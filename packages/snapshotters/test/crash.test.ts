import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

import type { Snapshotter } from "@berth/core/snapshots";
import { unmountRecursive } from "@berth/linux/mount";
import { debianPath, temporaryDirectory } from "@berth/testing";
import { describe, expect, it, vi } from "vitest";

import { activateMounts } from "./activate-mounts.ts";
import { CRASH_DRIVERS } from "./crash-drivers.ts";
import { mountBtrfs } from "./images.ts";

vi.stubEnv("PATH", debianPath());

/** What a process had said when it was killed. */
interface Said {
  readonly committed: ReadonlySet<string>;
  readonly removed: ReadonlySet<string>;
  readonly removing: ReadonlySet<string>;
}

/** Runs the child for a while and kills it. */
async function runAndKill(root: string, driver: string, milliseconds: number): Promise<Said> {
  const args = ["--conditions=@berth/source", join(import.meta.dirname, "crash-child.ts"), root, driver];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  const lines = createInterface({ input: child.stdout });
  const ready = once(lines, "line");
  const said: string[] = [];
  lines.on("line", (line) => said.push(line));
  await ready;
  await sleep(milliseconds);
  child.kill("SIGKILL");
  await exited;
  const all = (verb: string) =>
    new Set(said.flatMap((line) => (line.startsWith(`${verb} `) ? [line.slice(verb.length + 1)] : [])));
  return { committed: all("committed"), removed: all("removed"), removing: all("removing") };
}

async function check(snapshotter: Snapshotter, said: Said, root: string, path: string): Promise<void> {
  const infos = await Array.fromAsync(snapshotter.list());
  const present = new Set(infos.map(({ name }) => name));
  for (const name of said.committed) if (!said.removing.has(name)) expect(present).toContain(name);
  for (const name of said.removed) expect(present).not.toContain(name);
  await snapshotter.cleanup?.();
  expect(await readdir(join(root, "snapshots"))).toHaveLength(
    infos.filter(({ kind }) => kind === "committed" || !root.endsWith("btrfs")).length,
  );
  const target = join(path, "target");
  await mkdir(target, { recursive: true });
  for (const { name, kind } of infos) {
    if (kind !== "committed") await snapshotter.remove(name);
    else {
      await using _mounted = await activateMounts(await snapshotter.view(`look-${name}`, name), target, path);
      expect(await readFile(join(target, "file"), "utf8")).toBe(name);
    }
  }
  await snapshotter.prepare("fresh", "");
  await removeAll(snapshotter);
  expect(await readdir(join(root, "snapshots"))).toEqual([]);
}

async function removeAll(snapshotter: Snapshotter): Promise<void> {
  const infos = await Array.fromAsync(snapshotter.list());
  // Views first: they stand on the others.
  for (const { name } of infos.toSorted((a, b) => b.parent.length - a.parent.length)) await snapshotter.remove(name);
  await snapshotter.cleanup?.();
}

describe("a process killed while it commits and removes", () => {
  it.each(Object.entries(CRASH_DRIVERS))(
    "loses no acknowledged commit of %s, brings nothing removed back, and leaves a store that goes on",
    async (name, driver) => {
      await using directory = await temporaryDirectory("snapshots");
      await using undo = new AsyncDisposableStack();
      const disk = name === "btrfs" ? undo.use(await mountBtrfs(directory.path)).path : directory.path;
      undo.defer(() => unmountRecursive(disk));
      for (const milliseconds of [40, 260]) {
        const root = join(disk, String(milliseconds), name);
        const said = await runAndKill(root, name, milliseconds);
        await using snapshotter = await driver.open(root);
        await check(snapshotter, said, root, join(disk, String(milliseconds)));
      }
    },
    60_000,
  );
});
