import { createApplier, createLayerEngine } from "@berth/diff";
import type { ContentProvider } from "@berth/core/content";
import { Code, dataLoss } from "@berth/errors";
import { expect, it, vi } from "vitest";

import { LayerFixture } from "./layer-fixture.ts";

const MIB = 1024 ** 2;

it.each([
  ["begins while a layer comes, and is waited for by nobody", undefined],
  ["fails the layer when it fails, which is not to be committed then", Code.DataLoss],
])("writing to the disk %s", { timeout: 120_000 }, async (_, code) => {
  using fixture = new LayerFixture();
  fixture.remote = true;
  await using engine = createLayerEngine();
  const begun = Promise.withResolvers<string>();
  const outcome = Promise.withResolvers<void>();
  vi.spyOn(engine.syncs, "sync").mockImplementation((path) => {
    begun.resolve(path);
    return outcome.promise;
  });
  // The end of the layer comes when the disk writes what came before; without that, never.
  const content: ContentProvider = {
    reader: async (digest, options) => {
      const reader = await fixture.content.reader(digest, options);
      const readAt: typeof reader.readAt = async (offset, length, cancel) => {
        if (offset + length >= reader.size) {
          expect(await begun.promise).toBe(place.source);
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
