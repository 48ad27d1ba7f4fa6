import { chmod, mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

import type { TarEntryWithContent } from "@berth/archive";
import { createClient } from "@berth/client";
import { importImage } from "@berth/client/import";
import { buildImage, newerTool, runProgram, startBerthd, temporaryDirectory } from "@berth/testing";
import { describe, expect, it } from "vitest";

const DIFFER = "type==io.containerd.differ.v1,id==erofs";

const file = (path: string): TarEntryWithContent => ({ path, type: "file", content: Buffer.from(path) });

async function* stream(
  layers: readonly (readonly TarEntryWithContent[])[] = [[file("a")], [file("b")]],
): AsyncGenerator<Uint8Array, void, undefined> {
  yield (await buildImage({ name: "example.org/erofs:1", layers })).archive;
}

describe("the EROFS differ of berthd", { timeout: 60_000 }, () => {
  it("says why it is not there where mkfs.erofs knows no tar", async () => {
    await using daemon = await startBerthd();
    await using client = createClient({ address: daemon.address });
    const [plugin] = await client.plugins({ filters: [DIFFER] });
    expect(plugin).toMatchObject({ status: "skipped" });
    expect(JSON.stringify(plugin)).toContain("--tar");
  });

  it("makes images of the layers of its own snapshots, and leaves others to the next differ", async () => {
    await using directory = await temporaryDirectory("erofs-differ");
    const bin = join(directory.path, "bin");
    await mkdir(bin);
    const script = `#!/bin/sh\ncase "$1" in --tar=f) touch ${bin}/used;; esac\nexec ${newerTool("mkfs.erofs")} "$@"\n`;
    await writeFile(join(bin, "mkfs.erofs"), script);
    await chmod(join(bin, "mkfs.erofs"), 0o755);
    const config = `[plugins."io.containerd.service.v1.diff-service"]\ndefault = ["erofs", "walking"]\n`;
    await using daemon = await startBerthd({ path: [bin], config });
    await using client = createClient({ address: daemon.address, namespace: "erofs" });
    expect((await client.plugins({ filters: [DIFFER] }))[0]?.status).toBe("loaded");
    await importImage(client.scoped({ namespace: "other" }), stream(), { unpack: { snapshotter: "overlayfs" } });
    expect(await readdir(bin)).not.toContain("used");
    await importImage(client, stream(), { unpack: { snapshotter: "erofs" } });
    expect(await readdir(bin)).toContain("used");
    const snapshots = join(daemon.root, "io.containerd.snapshotter.v1.erofs", "snapshots");
    const ids = await readdir(snapshots);
    expect(ids).toHaveLength(2);
    for (const id of ids) {
      const image = await readFile(join(snapshots, id, "layer.erofs"));
      expect(image.readUInt32LE(1024)).toBe(0xe0f5e1e2);
    }
  });

  it("makes directories that a layer only reaches through what they are in the layers below", async () => {
    await using directory = await temporaryDirectory("erofs-differ");
    const config = `[plugins."io.containerd.service.v1.diff-service"]\ndefault = ["erofs", "walking"]\n`;
    await using daemon = await startBerthd({ path: [dirname(newerTool("mkfs.erofs"))], config });
    await using client = createClient({ address: daemon.address, namespace: "erofs" });
    const tmp = { path: "tmp/", type: "directory", mode: 0o1777, uid: 5 } as const;
    const layers = [[tmp], [file("a")], [file("tmp/new/x")]];
    await importImage(client, stream(layers), { unpack: { snapshotter: "erofs" } });
    const snapshots = join(daemon.root, "io.containerd.snapshotter.v1.erofs", "snapshots");
    // Layers are extracted side by side, and this one once more over its parent: what came of that is the latest.
    const latest = Math.max(...(await readdir(snapshots)).map(Number));
    const tree = join(directory.path, "tree");
    const image = join(snapshots, String(latest), "layer.erofs");
    expect(await runProgram(newerTool("fsck.erofs"), [`--extract=${tree}`, image])).toMatchObject({ code: 0 });
    expect(await stat(join(tree, "tmp"))).toMatchObject({ mode: 0o41777, uid: 5 });
    expect(await stat(join(tree, "tmp/new"))).toMatchObject({ mode: 0o40755, uid: 0 });
  });
});
