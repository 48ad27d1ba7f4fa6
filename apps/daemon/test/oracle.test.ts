import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import type { TarEntryWithContent } from "@berth/archive";
import { llistxattr, lgetxattr } from "@berth/linux/files";
import { unmountAll } from "@berth/linux/mount";
import type { BuiltImage, PeerDaemon, TreeEntry } from "@berth/testing";
import { buildImage, listTree, runProgram, startBerthd, startContainerd, temporaryDirectory } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const file = (path: string, text: string, extra: Partial<TarEntryWithContent> = {}): TarEntryWithContent => ({
  path,
  type: "file",
  size: bytes(text).length,
  content: bytes(text),
  mtime: { seconds: 1_600_000_000, nanoseconds: 123_456_789 },
  ...extra,
});
const directory = (path: string, extra: Partial<TarEntryWithContent> = {}): TarEntryWithContent => ({
  path,
  type: "directory",
  mtime: { seconds: 1_500_000_000, nanoseconds: 0 },
  ...extra,
});

/** An image with what archives can hold, in layers that change, hide and replace each other's files. */
function oddImage(): Promise<BuiltImage> {
  return buildImage({
    name: "example.org/oracle/odd:1",
    layers: [
      [
        directory("etc/", { mode: 0o755 }),
        directory("shared/", { mode: 0o3775, uid: 1000, gid: 2000 }),
        file("etc/passwd", "root:x:0:0:root:/:/bin/sh\n"),
        file("etc/setuid", "#!/bin/sh\n", { mode: 0o4755, uid: 1, gid: 2 }),
        file("etc/capability", "x", {
          xattrs: new Map([
            ["security.capability", Uint8Array.of(1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)],
            ["user.note", Uint8Array.of(0, 255, 10)],
          ]),
        }),
        // As tar writes it: a link carries what its inode has.
        { ...file("etc/hard", ""), type: "link", linkPath: "etc/passwd" },
        {
          path: "etc/soft",
          type: "symlink",
          linkPath: "../../outside",
          mtime: { seconds: 1_400_000_000, nanoseconds: 5 },
        },
        { path: "etc/null", type: "char", deviceMajor: 1, deviceMinor: 3, mode: 0o666 },
        { path: "etc/fifo", type: "fifo", mode: 0o600 },
        directory("opaque/"),
        file("opaque/old", "old"),
        directory("gone/"),
        file("gone/deep", "deep"),
        file(`${"long/".repeat(30)}name-${"x".repeat(120)}`, "long"),
        file("kind", "a file that becomes a directory"),
        directory("unicode-ü/"),
        file("unicode-ü/名前", "utf-8"),
      ],
      [
        file("etc/passwd", "root:x:0:0:changed:/:/bin/sh\n"),
        directory("opaque/", { mode: 0o700 }),
        file("opaque/.wh..wh..opq", ""),
        file("opaque/new", "new"),
        file(".wh.gone", ""),
        file(".wh.kind", ""),
        directory("kind/"),
        file("kind/inside", "inside"),
        file("shared/.wh.nothing", ""),
      ],
      [
        file("implied/parents/file", "implied"),
        file("etc/.wh.fifo", ""),
        directory("gone/", { mode: 0o711 }),
        file("gone/back", "back"),
      ],
    ],
  });
}

/** Debian's containerd as an oracle: the same image gives the same everything. */
describe.each(["1.6", "2"] as const)(
  "the same image in berthd and in containerd %s",
  { timeout: 60_000 },
  (release) => {
    const stack = new AsyncDisposableStack();
    const daemons: PeerDaemon[] = [];
    const started = Date.now();
    let image: BuiltImage;
    let scratch: string;

    beforeAll(async () => {
      image = await oddImage();
      scratch = stack.use(await temporaryDirectory("oracle")).path;
      for (const start of [startBerthd, startContainerd]) {
        const daemon = stack.use(await start({ release }));
        daemons.push(daemon);
        const { code, stderr } = await daemon.ctr(["image", "import", "-"], { input: image.archive });
        expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      }
    });
    afterAll(() => stack.disposeAsync());

    const both = async (...args: string[]): Promise<[string, string]> => {
      const [ours, theirs] = await Promise.all(daemons.map((daemon) => daemon.ctr(args)));
      expect([ours?.stderr, theirs?.stderr]).toEqual(["", ""]);
      return [ours?.stdout ?? "", theirs?.stdout ?? ""];
    };
    /** The image's blobs, without the column that tells time. The index of the archive itself is garbage, gone sooner or later. */
    const blobRows = (table: string): string[] =>
      table
        .split("\n")
        .filter((line) => [...image.blobs.keys()].some((digest) => line.startsWith(digest)))
        .map((line) => line.replace(/\t(Less than a second|\d+ \w+|About a \w+)\t/, "\tAGE\t").trim())
        // Go lists labels in any order.
        .map((line) => line.split(/[\t,]/).sort().join("\t"))
        .sort();

    it("has the same names, digests and labels", async () => {
      const [ours, theirs] = await both("image", "ls");
      expect(ours).toBe(theirs);
      const [ourContent, theirContent] = await both("content", "ls");
      expect(blobRows(ourContent)).toEqual(blobRows(theirContent));
      expect(blobRows(ourContent)).toHaveLength(image.blobs.size);
    });

    it("has the same snapshots", async () => {
      const [ours, theirs] = await both("snapshots", "ls");
      expect(ours.split("\n").sort()).toEqual(theirs.split("\n").sort());
      const [ourTree, theirTree] = await both("snapshots", "tree");
      expect(ourTree).toBe(theirTree);
    });

    it("has the same files: owner, mode, times, links, devices, attributes, content", async () => {
      const top = (await daemons[0]?.ctr(["snapshots", "ls"]))?.stdout
        .split("\n")
        .slice(1)
        .map((line) => line.split(/\s+/)[0] ?? "");
      const [ours, theirs] = [await mountedTree(daemons[0], top ?? []), await mountedTree(daemons[1], top ?? [])];
      expect(ours.size).toBeGreaterThan(60);
      expect([...ours.keys()].sort()).toEqual([...theirs.keys()].sort());
      for (const [path, entry] of theirs)
        expect({ path, ...ours.get(path), ...clock(entry) }).toEqual({ path, ...entry });
    });

    /**
     * The time of a directory that no archive lists is when containerd unpacked it, or hid something in it; berth keeps the time of
     * the layer below where there is one. Neither is a property of the image.
     */
    function clock(entry: TreeEntry): Partial<TreeEntry> {
      const { mtimeNs } = entry;
      return typeof mtimeNs === "bigint" && mtimeNs > BigInt(started) * 1_000_000n ? { mtimeNs } : {};
    }

    /** This lists the trees of all committed snapshots, each through a snapshot on top of it. */
    async function mountedTree(
      daemon: PeerDaemon | undefined,
      names: readonly string[],
    ): Promise<Map<string, TreeEntry>> {
      if (daemon === undefined) throw new Error("the daemon did not start");
      const all = new Map<string, TreeEntry>();
      for (const name of names.filter(Boolean)) {
        const target = join(scratch, `${daemon.pid}-${name.slice(7, 20)}`);
        await mkdir(target);
        // Go's ctr keeps what it prepares from the collector, but not what it views.
        await daemon.ctr(["snapshots", "prepare", `look-${name}`, name]);
        const { stdout } = await daemon.ctr(["snapshots", "mounts", target, `look-${name}`]);
        expect(stdout).toContain("mount -t");
        expect((await runProgram("sh", ["-ec", stdout])).stderr).toBe("");
        try {
          for (const [path, entry] of await listTree(target, xattrs)) all.set(`${name}:${path}`, entry);
        } finally {
          await unmountAll(target);
        }
      }
      return all;
    }
  },
);

function xattrs(path: string): Record<string, string> {
  return Object.fromEntries(
    llistxattr(path)
      .filter((name) => !name.startsWith("trusted.overlay."))
      .map((name) => [name, Buffer.from(lgetxattr(path, name)).toString("hex")]),
  );
}
