import { readTar } from "@berth/archive";
import { codeName, codeOf } from "@berth/errors";
import type { Digest } from "@berth/oci";
import type { BuiltImage } from "@berth/testing";
import { buildImage, digestBytes, MemoryContentStore } from "@berth/testing";
import { beforeAll, describe, expect, it } from "vitest";

import { exportArchive, importArchive } from "../src/index.ts";

async function* chunked(bytes: Uint8Array): AsyncGenerator<Uint8Array, void> {
  for (let at = 0; at < bytes.length; at += 1000) yield bytes.subarray(at, at + 1000);
}

describe.each(["sha384", "sha512"] as const)("archives of images whose digests are of %s", (algorithm) => {
  let image: BuiltImage;

  beforeAll(async () => {
    const layer = [{ path: "file", type: "file", size: 5000, content: Buffer.alloc(5000, "x") }] as const;
    image = await buildImage({ name: "example.org/app:1", layers: [layer], compression: "none", algorithm });
  });

  const expectAll = ({ blobs }: MemoryContentStore): void => {
    const found = [...image.blobs.keys()].map((digest) =>
      digestBytes(blobs.get(digest)?.bytes ?? new Uint8Array(), algorithm),
    );
    expect(found).toEqual([...image.blobs.keys()]);
  };
  const importedFrom = async (archive: Uint8Array): Promise<MemoryContentStore> => {
    const content = new MemoryContentStore();
    const { images } = await importArchive(chunked(archive), { content });
    expect(images.map(({ name, target }) => [name, target.digest])).toEqual([[image.name, image.manifest.digest]]);
    return content;
  };

  it("are imported, and exported so that they can be imported again", async () => {
    const content = await importedFrom(image.archive);
    expectAll(content);
    // What keeps the children from the collector.
    expect([...(content.blobs.get(image.manifest.digest)?.labels.values() ?? [])].toSorted()).toEqual(
      [image.config, ...image.layers].map(({ digest }) => digest).toSorted(),
    );
    const images = [{ name: image.name, target: image.manifest }];
    const archive = Buffer.concat(await Array.fromAsync(exportArchive(images, { content })));
    const entries = new Map<string, Buffer>();
    for await (const { header, content: body } of readTar(chunked(archive)))
      entries.set(header.path, Buffer.concat(await Array.fromAsync(body)));
    const pathOf = ({ digest }: { readonly digest: Digest }): string => `blobs/${digest.replace(":", "/")}`;
    for (const [digest, bytes] of image.blobs)
      expect(Buffer.compare(entries.get(pathOf({ digest })) ?? Buffer.alloc(0), bytes)).toBe(0);
    expect(JSON.parse(entries.get("manifest.json")?.toString() ?? "null")).toEqual([
      { Config: pathOf(image.config), RepoTags: [image.name], Layers: image.layers.map(pathOf) },
    ]);
    expectAll(await importedFrom(archive));
  });

  it("are refused when a blob is not what its digest says", async () => {
    const archive = Buffer.from(image.archive);
    // In the layer's only file.
    archive[archive.indexOf("x".repeat(100))] = 0;
    const content = new MemoryContentStore();
    const error: unknown = await importArchive(chunked(archive), { content }).catch((thrown: unknown) => thrown);
    expect(codeName(codeOf(error))).toBe("failed_precondition");
    expect(content.ingests.size).toBe(0);
  });
});
