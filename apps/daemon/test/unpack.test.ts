import type { TarEntryWithContent } from "@berth/archive";
import { type Client, createClient } from "@berth/client";
import { importImage } from "@berth/client/import";
import { unpackConcurrency } from "@berth/client/unpack-concurrency";
import { LAYER_NEEDS_PARENT } from "@berth/core/diff";
import { codeName, codeOf } from "@berth/errors";
import { lgetxattr, llistxattr } from "@berth/linux/files";
import { mountTemporary } from "@berth/linux/mount";
import { type BuiltImage, buildImage, listTree, type PeerDaemon, startBerthd } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const file = (path: string, rest: Partial<TarEntryWithContent> = {}): TarEntryWithContent => ({
  path,
  type: "file",
  content: Buffer.from(path),
  ...rest,
});
const directory = (path: string, rest: Partial<TarEntryWithContent> = {}): TarEntryWithContent => ({
  path,
  type: "directory",
  ...rest,
});

/** Layers that replace and delete each other's files, and one that has files without the directories above them. */
const LAYERS: readonly (readonly TarEntryWithContent[])[] = [
  [
    directory("tmp/", { mode: 0o1777, uid: 3, xattrs: new Map([["user.note", Uint8Array.of(7)]]) }),
    file("tmp/a"),
    directory("etc/"),
    file("etc/a"),
    file("etc/b"),
  ],
  [file("etc/.wh.a", { content: new Uint8Array() }), file("etc/b", { mode: 0o600 })],
  [file("tmp/deep/c"), file("tmp/d")],
  [directory("etc/", { mode: 0o700 }), file("etc/.wh..wh..opq", { content: new Uint8Array() }), file("etc/new")],
];

const UNLISTED: ReadonlySet<string> = new Set(["", "tmp/deep"]);

async function* stream(image: BuiltImage): AsyncGenerator<Uint8Array, void, undefined> {
  yield image.archive;
}

describe("unpacking into berthd", { timeout: 60_000 }, () => {
  let daemon: PeerDaemon;
  let image: BuiltImage;
  const clients: Client[] = [];

  beforeAll(async () => {
    daemon = await startBerthd();
    image = await buildImage({ name: "example.org/layers:1", layers: LAYERS });
  });
  afterAll(async () => {
    for (const client of clients) await client[Symbol.asyncDispose]();
    await daemon[Symbol.asyncDispose]();
  });

  const open = (namespace: string): Client => {
    const client = createClient({ address: daemon.address, namespace });
    clients.push(client);
    return client;
  };
  const names = async (client: Client, snapshotter: string): Promise<string[]> =>
    Array.fromAsync(client.snapshotter(snapshotter).list(), ({ name, kind }) => `${kind} ${name}`);

  async function tree(client: Client, snapshotter: string): Promise<ReadonlyMap<string, unknown>> {
    const snapshots = client.snapshotter(snapshotter);
    const all = await Array.fromAsync(snapshots.list());
    const top = all.find(({ name }) => !all.some(({ parent }) => parent === name))?.name ?? "";
    const { id } = await client.leases.create({ id: "look", labels: new Map() });
    await using mounted = await mountTemporary(
      await client.scoped({ lease: id }).snapshotter(snapshotter).view("look", top),
    );
    const found = await listTree(mounted.path, (path) =>
      Object.fromEntries(llistxattr(path).map((name) => [name, Buffer.from(lgetxattr(path, name)).toString("hex")])),
    );
    // What no layer lists has the time when it was made.
    return new Map([...found].map(([path, entry]) => [path, UNLISTED.has(path) ? { ...entry, mtimeNs: 0n } : entry]));
  }

  it("side by side gives the trees of one after the other, also where a layer leaves out its directories", async () => {
    const [together, apart] = [open("together"), open("apart")];
    expect(await unpackConcurrency(together, "overlayfs")).toBeGreaterThan(1);
    await importImage(together, stream(image), { unpack: { snapshotter: "overlayfs" } });
    await importImage(apart, stream(image), { unpack: { snapshotter: "overlayfs", concurrency: 1 } });
    expect(await names(together, "overlayfs")).toEqual(await names(apart, "overlayfs"));
    expect(await names(together, "overlayfs")).toHaveLength(4);
    const made = await tree(together, "overlayfs");
    expect(made).toEqual(await tree(apart, "overlayfs"));
    expect(made.get("tmp")).toMatchObject({ mode: "41777", owner: "3:0", "user.note": "07" });
    expect([...made.keys()]).toEqual(["", "etc", "etc/new", "tmp", "tmp/a", "tmp/d", "tmp/deep", "tmp/deep/c"]);
  });

  it("one after the other where the snapshotter cannot rebase", async () => {
    const client = open("native");
    expect(await unpackConcurrency(client, "native")).toBe(1);
    await importImage(client, stream(image), { unpack: { snapshotter: "native" } });
    expect([...(await tree(client, "native")).keys()]).toContain("tmp/deep/c");
  });

  it("says of a layer without parent that it needs one, where directories were made for it", async () => {
    const client = open("annotation");
    const { id } = await client.leases.create({ id: "held", labels: new Map() });
    const leased = client.scoped({ lease: id });
    await importImage(leased, stream(image));
    const outcomes = [];
    for (const [index, layer] of image.layers.entries()) {
      const [mount] = await leased.snapshotter("overlayfs").prepare(`layer-${index}`, "");
      const overlay = { type: "overlay", source: "overlay", target: "", options: [`upperdir=${mount?.source}`] };
      outcomes.push((await leased.diff.apply(layer, [overlay])).annotations?.[LAYER_NEEDS_PARENT]);
    }
    expect(outcomes).toEqual([undefined, "1", "2", undefined]);
  });

  it("leaves nothing of a layer that fails, and goes on from those below when it is tried again", async () => {
    const client = open("failing");
    const bad = await buildImage({
      name: "example.org/bad:1",
      layers: [...LAYERS.slice(0, 2), [{ path: "h", type: "link", linkPath: "nothing" }], [file("last")]],
    });
    const failing = importImage(client, stream(bad), { unpack: { snapshotter: "overlayfs" } });
    expect(codeName(codeOf(await failing.catch((error: unknown) => error)))).toBe("invalid_argument");
    expect((await names(client, "overlayfs")).every((line) => line.startsWith("committed"))).toBe(true);
    const states: string[] = [];
    await importImage(client, stream(image), {
      unpack: { snapshotter: "overlayfs", onLayer: (_layer, state) => states.push(state) },
    });
    expect(states).toHaveLength(4);
    expect(await names(client, "overlayfs")).toHaveLength(4);
  });
});
