import { mkdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { createApplier, createLayerEngine } from "@berth/diff";
import type { ContentProvider } from "@berth/core/content";
import { Code, dataLoss } from "@berth/errors";
import { syncfs } from "@berth/linux/files";
import { mountAll, unmountRecursive } from "@berth/linux/mount";
import { runProgram } from "@berth/testing";
import { expect, it, vi } from "vitest";

import { DeviceSyncs } from "../src/device-syncs.ts";
import { LayerFixture } from "./layer-fixture.ts";

const MIB = 1024 ** 2;

it.each([
  ["begins while a layer comes, and is waited for by nobody", undefined],
  ["fails the layer when it fails, which is not to be committed then", Code.DataLoss],
])("writing to the disk %s", { timeout: 120_000 }, async (_, code) => {
  using fixture = new LayerFixture();
  fixture.remote = true;
  await using engine = createLayerEngine();
  const begun = Promise.withResolvers<void>();
  const outcome = Promise.withResolvers<void>();
  const syncs = new DeviceSyncs(() => {
    begun.resolve();
    return outcome.promise;
  });
  vi.spyOn(engine.syncs, "watch").mockImplementation((path, options) => syncs.watch(path, options));
  // The end of the layer comes when the disk writes what came before; without that, never.
  const content: ContentProvider = {
    reader: async (digest, options) => {
      const reader = await fixture.content.reader(digest, options);
      const readAt: typeof reader.readAt = async (offset, length, cancel) => {
        if (offset + length >= reader.size) {
          await begun.promise;
          if (code !== undefined) outcome.reject(dataLoss("disk"));
        }
        return reader.readAt(offset, length, cancel);
      };
      return { ...reader, readAt };
    },
  };
  const place = fixture.bind("layer");
  const layer = await fixture.addTar([{ path: "large", type: "file", content: Buffer.alloc(36 * MIB, 1) }]);
  const applied = createApplier({ content, engine, syncFs: false }).apply(layer, [place]);
  if (code === undefined) expect((await applied).digest).toBe(layer.digest);
  else await expect(applied).rejects.toMatchObject({ code });
});

/** The image of an ext4 on a disk of 24 MiB, which takes less than is written to it: the kernel is told so when it writes back, and writers are not. */
async function imageThatLoses(memory: string): Promise<string> {
  await mountAll([{ type: "tmpfs", source: "tmpfs", target: "", options: ["size=24m"] }], memory);
  const image = join(memory, "image");
  writeFileSync(image, "");
  truncateSync(image, 128 * MIB);
  // What the file system itself writes has its place from the start: only content is lost.
  const options = ["-q", "-J", "size=4", "-N", "1024", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"];
  expect(await runProgram("mkfs.ext4", [...options, image])).toMatchObject({ code: 0 });
  return image;
}

it("fails a layer on a disk that loses it, although an early sync was told and another descriptor", async () => {
  using fixture = new LayerFixture();
  await using undo = new AsyncDisposableStack();
  const memory = fixture.make("memory");
  undo.defer(() => unmountRecursive(memory));
  const source = await imageThatLoses(memory);
  const place = join(memory, "place");
  mkdirSync(place);
  await mountAll([{ type: "ext4", source, target: "", options: ["loop"] }], place);
  await using engine = createLayerEngine();
  const layer = await fixture.addTar([{ path: "large", type: "file", content: Buffer.alloc(60 * MIB, 1) }]);
  const applier = createApplier({ content: fixture.content, engine, syncFs: true });
  const bind = { type: "bind", source: place, target: "", options: ["rbind", "rw"] };
  const syncs = new DeviceSyncs(syncfs);
  await using another = await syncs.watch(place);
  await expect(applier.apply(layer, [bind])).rejects.toThrow();
  // Told of the same, which is why a descriptor is opened before the first byte.
  await expect(another.sync()).rejects.toThrow();
});

it("fails a layer that a temporary mount cannot put on its disk, and takes the mount away", async () => {
  using fixture = new LayerFixture();
  await using undo = new AsyncDisposableStack();
  const memory = fixture.make("memory");
  undo.defer(() => unmountRecursive(memory));
  const source = await imageThatLoses(memory);
  await using engine = createLayerEngine({ temporaryDirectory: fixture.directory });
  const applier = createApplier({ content: fixture.content, engine, syncFs: false });
  const mounts = [{ type: "ext4", source, target: "", options: ["loop"] }];
  const small = await fixture.addTar([{ path: "small", type: "file", content: Buffer.from("small") }]);
  expect((await applier.apply(small, mounts)).digest).toBe(small.digest);
  const layer = await fixture.addTar([{ path: "large", type: "file", content: Buffer.alloc(30 * MIB, 1) }]);
  await expect(applier.apply(layer, mounts)).rejects.toThrow();
  expect(readFileSync("/proc/self/mounts", "utf8")).not.toContain(`${fixture.directory}/berth-mount-`);
});

it("waits for an early sync in a temporary mount, which would keep it busy", async () => {
  using fixture = new LayerFixture();
  await using engine = createLayerEngine({ temporaryDirectory: fixture.directory });
  const ended: boolean[] = [];
  const syncs = new DeviceSyncs(async (descriptor) => {
    await new Promise((resolve) => setTimeout(resolve, 3500));
    await syncfs(descriptor);
    ended.push(true);
  });
  vi.spyOn(engine.syncs, "watch").mockImplementation((path, options) => syncs.watch(path, options));
  const layer = await fixture.addTar([{ path: "large", type: "file", content: Buffer.alloc(70 * MIB, 1) }]);
  const memory = { type: "tmpfs", source: "tmpfs", target: "", options: ["size=100m"] };
  const applier = createApplier({ content: fixture.content, engine, syncFs: false });
  expect((await applier.apply(layer, [memory])).digest).toBe(layer.digest);
  expect(ended.length).toBeGreaterThan(0);
  expect(readFileSync("/proc/self/mounts", "utf8")).not.toContain(fixture.directory);
}, 30_000);
