import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  chownSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { readTar } from "@berth/archive";
import { type Client, createClient } from "@berth/client";
import { createDiff } from "@berth/client/create-diff";
import { streamBlob } from "@berth/core/content";
import { lsetxattr, mkfifo, mknod } from "@berth/linux/files";
import { mountTemporary } from "@berth/linux/mount";
import { MediaType } from "@berth/oci";
import { type PeerDaemon, startBerthd, startContainerd } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const SECONDS = 1_600_000_000;

function put(root: string, path: string, text: string, fraction = 0.25): void {
  mkdirSync(join(root, path, ".."), { recursive: true });
  writeFileSync(join(root, path), text);
  utimesSync(join(root, path), SECONDS, SECONDS + fraction);
}

function makeBase(root: string): void {
  for (const path of [
    "etc/passwd",
    "etc/cut",
    "usr/bin/a",
    "usr/bin/b",
    "gone/deep/file",
    "opaque/old",
    "kind",
    "time",
  ])
    put(root, path, path, path === "etc/cut" ? 0 : 0.25);
  linkSync(join(root, "usr/bin/a"), join(root, "usr/bin/a2"));
  symlinkSync("usr/bin", join(root, "bin"));
  mkdirSync(join(root, "empty"));
}

function changeBase(root: string): void {
  put(root, "etc/passwd", "changed");
  put(root, `${"long/".repeat(25)}${"n".repeat(150)}`, "long");
  put(root, `${"p".repeat(60)}/${"q".repeat(60)}`, "a prefix would do");
  put(root, `${"r".repeat(98)}/${"q".repeat(60)}`, "cut at a slash");
  put(root, "größe/名前", "unicode");
  put(root, "old-time", "x");
  // As a date: Node takes a negative number for the present.
  utimesSync(join(root, "old-time"), new Date(-1_000_500), new Date(-1_000_500));
  chownSync(join(root, "usr/bin/b"), 3_000_000, 12);
  chmodSync(join(root, "usr/bin/b"), 0o6755);
  lutimesSync(join(root, "time"), SECONDS, SECONDS + 9.5);
  rmSync(join(root, "gone"), { recursive: true });
  rmSync(join(root, "opaque"), { recursive: true });
  put(root, "opaque/new", "new");
  rmSync(join(root, "kind"));
  put(root, "kind/now/a/directory", "x");
  linkSync(join(root, "usr/bin/a"), join(root, "a-link"));
  symlinkSync("nowhere", join(root, "soft"));
  linkSync(join(root, "soft"), join(root, "soft-link"));
  mkfifo(join(root, "fifo"), 0o640);
  mknod(join(root, "device"), 0o060600, 300, 70_000);
  put(root, "capable", "x");
  lsetxattr(
    join(root, "capable"),
    "security.capability",
    Buffer.from("0100000200200000000000000000000000000000", "hex"),
  );
  lsetxattr(join(root, "capable"), "user.note", Buffer.from("x"));
  mkdirSync(join(root, "etc/sub/empty"), { recursive: true });
  renameSync(join(root, "usr/bin/a2"), join(root, "usr/a3"));
  put(root, "large", "0123456789".repeat(300_000));
}

/** Two snapshots with the same in them in each daemon; directories made there have the time of the making. */
async function fill(client: Client, snapshotter: string): Promise<void> {
  const snapshots = client.snapshotter(snapshotter);
  for (const [key, parent, change] of [
    ["base", "", makeBase],
    ["top", "base", changeBase],
  ] as const) {
    {
      await using mounted = await mountTemporary(await snapshots.prepare(`${key}-active`, parent));
      change(mounted.path);
      setTimes(mounted.path);
    }
    await snapshots.commit(key, `${key}-active`);
  }
}

/** Directories, and links where the time is not set by hand, would differ by when they were made. */
function setTimes(root: string): void {
  const touch = ["-h", "-d", `@${SECONDS}`, "{}", "+"];
  execFileSync("find", [
    root,
    "(",
    "-type",
    "d",
    "-o",
    "-type",
    "l",
    "-o",
    "-type",
    "p",
    "-o",
    "-type",
    "b",
    ")",
    "-exec",
    "touch",
    ...touch,
  ]);
}

async function bytesOf(client: Client, snapshotter: string, mediaType: string, lower?: string): Promise<Uint8Array> {
  const layer = await createDiff(client, "top", { snapshotter, mediaType, ...(lower === undefined ? {} : { lower }) });
  expect(layer.mediaType).toBe(mediaType);
  return Buffer.concat(await Array.fromAsync(streamBlob(client.content, layer.digest)));
}

async function describeLayer(tar: Uint8Array): Promise<string[]> {
  const lines: string[] = [];
  for await (const { header, content } of readTar([tar])) {
    const { path, linkPath, typeflag, mode, uid, gid, mtime, deviceMajor, deviceMinor, xattrs } = header;
    const hash = createHash("sha256");
    for await (const chunk of content) hash.update(chunk);
    const isWhiteout = path.split("/").at(-1)?.startsWith(".wh.") === true;
    const time = isWhiteout ? "" : `${mtime.seconds}.${mtime.nanoseconds}`;
    const attributes = [...xattrs].map(([name, value]) => `${name}=${Buffer.from(value).toString("hex")}`);
    lines.push(
      [
        path,
        linkPath,
        typeflag,
        mode.toString(8),
        uid,
        gid,
        time,
        deviceMajor,
        deviceMinor,
        ...attributes,
        hash.digest("hex"),
      ].join(" "),
    );
  }
  return lines;
}

describe("Diff in berthd and in containerd", { timeout: 60_000 }, () => {
  const clients: Client[] = [];
  const daemons: PeerDaemon[] = [];

  beforeAll(async () => {
    for (const start of [startBerthd, startContainerd]) {
      const daemon = await start({ release: "2" });
      daemons.push(daemon);
      const client = createClient({ address: daemon.address, namespace: "diff" });
      await client.leases.create({ id: "held", labels: new Map() });
      clients.push(client.scoped({ lease: "held" }));
      for (const snapshotter of ["overlayfs", "native"]) await fill(clients.at(-1) ?? client, snapshotter);
    }
  }, 60_000);
  afterAll(async () => {
    for (const daemon of daemons) await daemon[Symbol.asyncDispose]();
  });

  it.each(["overlayfs", "native"])("gives the same entries for the same trees: %s", async (snapshotter) => {
    const [ours, theirs] = await Promise.all(
      clients.map(async (client) => describeLayer(await bytesOf(client, snapshotter, MediaType.ociLayer))),
    );
    expect(ours?.length).toBeGreaterThan(20);
    expect(ours).toEqual(theirs);
  });

  it.each(["overlayfs", "native"])("gives the same bytes, where nothing is deleted: %s", async (snapshotter) => {
    const [ours, theirs] = await Promise.all(
      clients.map((client) => bytesOf(client, snapshotter, MediaType.ociLayer, "")),
    );
    expect(Buffer.compare(ours ?? new Uint8Array(), theirs ?? new Uint8Array(1))).toBe(0);
  });
});
