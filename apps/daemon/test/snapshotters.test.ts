import { rmdir, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { type Client, createClient } from "@berth/client";
import { runConformance } from "@berth/conformance";
import { snapshotCases, snapshotLimitCases, type SnapshotSubject } from "@berth/conformance/snapshots";
import type { Mount } from "@berth/core/mount";
import { isUnimplemented } from "@berth/errors";
import { mountAll, unmountAll, unmountRecursive, withTemporaryMount } from "@berth/linux/mount";
import {
  BUSYBOX_IMAGE,
  busyboxImage,
  debianTool,
  launcher,
  type PeerDaemon,
  runProgram,
  startBerthd,
  temporaryDirectory,
} from "@berth/testing";
import * as vitest from "vitest";

const { afterAll, beforeAll, describe, expect, it } = vitest;

const MIB = 1024 * 1024;
const stack = new AsyncDisposableStack();
let daemon: PeerDaemon;
let count = 0;

beforeAll(async () => {
  const { path } = stack.use(await temporaryDirectory("snapshotters"));
  stack.defer(() => unmountRecursive(path));
  const scratch = join(path, "scratch.img");
  await writeFile(scratch, "");
  await truncate(scratch, 64 * MIB);
  expect(await runProgram("mkfs.ext4", ["-q", scratch])).toMatchObject({ code: 0 });
  await withTemporaryMount([{ type: "ext4", source: scratch, options: ["loop"] }], {}, (mounted) =>
    rmdir(join(mounted, "lost+found")),
  );
  const config = `[plugins."io.containerd.snapshotter.v1.blockfile"]\nscratch_file = ${JSON.stringify(scratch)}\n`;
  daemon = stack.use(await startBerthd({ directory: path, config }));
  const { archive } = await busyboxImage();
  const imported = await daemon.ctr(["image", "import", "--snapshotter", "overlayfs", "-"], { input: archive });
  expect(imported).toMatchObject({ code: 0 });
});
afterAll(() => stack.disposeAsync());

/** What the mount manager makes of mounts, the caller's part included. */
async function activate(client: Client, mounts: readonly Mount[], target: string): Promise<AsyncDisposable> {
  await using made = new AsyncDisposableStack();
  const name = `test-${++count}`;
  let system = mounts;
  try {
    ({ system } = await client.mounts.activate(name, mounts));
    made.defer(() => client.mounts.deactivate(name));
  } catch (error) {
    // The kernel can make them all.
    if (!isUnimplemented(error)) throw error;
  }
  await mountAll(system, target);
  made.defer(() => unmountAll(target));
  return made.move();
}

function openSubject(snapshotter: string): () => Promise<SnapshotSubject> {
  return async () => {
    const client = createClient({ address: daemon.address, namespace: `n${++count}` });
    const { id } = await client.leases.create({ id: "held", labels: new Map() });
    const held = client.scoped({ lease: id });
    return {
      snapshotter: held.snapshotter(snapshotter),
      rebases: true,
      mount: (mounts, target) => activate(held, mounts, target),
      [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
    };
  };
}

/** The rules of what is seen in a mount; the suites of the drivers hold all of them. */
const CASES = [...snapshotCases, ...snapshotLimitCases].filter(({ name }) =>
  /layers add|directory removed and made again|cannot be written|keeps what was written|limited layer/.test(name),
);

for (const name of ["erofs", "blockfile", "overlayfs"]) {
  runConformance(vitest, `${name} of the daemon, mounted through its mount manager`, CASES, openSubject(name));
}

describe.each([
  ["Go's shim", debianTool("containerd-shim-runc-v2")],
  ["berth's shim", "io.containerd.runc.v2"],
])("a container of Go's ctr under %s", (_, runtime) => {
  it("is kept within the limit of its layer", async () => {
    const script = [
      "head -c 100000000 /dev/zero > /big",
      "echo status $?, $(($(wc -c < /big) < 67108864))",
      "rm /big",
      "head -c 1000000 /dev/zero > /small && echo fits",
    ].join("; ");
    const label = ["--snapshotter-label", `containerd.io/snapshot/max-size=${64 * MIB}`];
    const id = `limited-${++count}`;
    const { code, stdout } = await daemon.ctr(
      ["run", "--rm", "--runtime", runtime, ...label, BUSYBOX_IMAGE, id, "/bin/sh", "-c", script],
      { timeoutMs: 30_000 },
    );
    expect([code, stdout]).toEqual([0, "status 1, 1\nfits\n"]);
  });
});

it.each(["overlayfs", "native", "blockfile", "erofs"])(
  "an image is unpacked into %s, and a container runs on it",
  async (name) => {
    const { archive } = await busyboxImage();
    const namespace = ["-n", name];
    const imported = await daemon.ctr([...namespace, "image", "import", "--snapshotter", name, "-"], {
      input: archive,
    });
    expect(imported).toMatchObject({ code: 0 });
    const run = (...args: string[]) =>
      runProgram(launcher("ctr"), [
        "-a",
        daemon.address,
        ...namespace,
        "run",
        "--rm",
        "--snapshotter",
        name,
        BUSYBOX_IMAGE,
        `on-${name}`,
        ...args,
      ]);
    const script = "echo changed > /etc/passwd && rm /etc/group && ls /etc && cat /etc/passwd";
    expect(await run("/bin/sh", "-c", script)).toMatchObject({ code: 0, stdout: "passwd\nchanged\n", stderr: "" });
  },
);

it("tells snapshotters in containerd's order, each with what it can do", async () => {
  await using client = createClient({ address: daemon.address, namespace: "default" });
  const plugins = await client.introspection.plugins({ filters: ["type==io.containerd.snapshotter.v1"] });
  expect(plugins.map(({ id, capabilities }) => [id, capabilities.join()])).toEqual([
    ["blockfile", ""],
    ["btrfs", ""],
    ["devmapper", ""],
    ["erofs", "only-remap-ids,remap-ids,rebase"],
    ["native", ""],
    ["overlayfs", "remap-ids,only-remap-ids,rebase"],
    ["zfs", ""],
  ]);
});
