import { readFileSync } from "node:fs";
import { join } from "node:path";

import { createApplier, createLayerEngine } from "@berth/diff";
import { raceSignal } from "@berth/core/race-signal";
import type { ContentProvider } from "@berth/core/content";
import { codeName, codeOf } from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import { beforeEach, describe, expect, it } from "vitest";

import { LayerFixture } from "./layer-fixture.ts";

describe("Applier, of layers whose bytes are late", () => {
  let fixture: LayerFixture;
  let coming: PromiseWithResolvers<void>;
  /** Layers whose second half has been asked for. */
  let stuck: Set<string>;
  let content: ContentProvider;

  beforeEach(() => {
    fixture = new LayerFixture();
    fixture.remote = true;
    coming = Promise.withResolvers();
    stuck = new Set();
    content = {
      reader: async (digest, options) => {
        const reader = await fixture.content.reader(digest, options);
        return {
          ...reader,
          readAt: async (offset, length, cancel) => {
            if (offset > 0) {
              stuck.add(digest);
              await raceSignal(coming.promise, cancel?.signal);
            }
            return reader.readAt(offset, length, cancel);
          },
        };
      },
    };
  });

  /** Of more than a piece that is read at once. */
  const large = (name: string): Promise<Descriptor> =>
    fixture.addTar([{ path: name, type: "file", content: Buffer.alloc(1_500_000, name) }]);
  const small = (name: string): Promise<Descriptor> =>
    fixture.addTar([{ path: name, type: "file", content: Buffer.from(name) }]);
  const until = async (isTrue: () => boolean): Promise<void> => {
    while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, 1));
  };

  it("applies what is there meanwhile, in the same threads, and these when they have come", async () => {
    using own = fixture;
    await using engine = createLayerEngine({ workers: 1 });
    const applier = createApplier({ content, engine });
    const late = ["a", "b", "c"].map(async (name) => applier.apply(await large(name), [own.bind(`late-${name}`)]));
    await until(() => stuck.size === 3);
    for (const name of ["x", "y"]) await applier.apply(await small(name), [own.bind(name)]);
    expect(readFileSync(join(own.directory, "y/y"), "utf8")).toBe("y");
    coming.resolve();
    await Promise.all(late);
    for (const name of ["a", "b", "c"]) {
      const bytes = readFileSync(join(own.directory, `late-${name}`, name), "utf8");
      expect(bytes === name.repeat(1_500_000)).toBe(true);
    }
  });

  it("ends one of several in a thread and leaves the others alone", async () => {
    using own = fixture;
    await using engine = createLayerEngine({ workers: 1 });
    const applier = createApplier({ content, engine });
    const stop = new AbortController();
    const kept = applier.apply(await large("kept"), [own.bind("kept")]);
    await until(() => stuck.size === 1);
    const given = applier
      .apply(await large("given"), [own.bind("given")], { signal: stop.signal })
      .catch((error: unknown) => codeName(codeOf(error)));
    await until(() => stuck.size === 2);
    stop.abort();
    expect(await given).toBe("canceled");
    coming.resolve();
    await kept;
    expect(readFileSync(join(own.directory, "kept/kept")).length).toBe(1_500_000);
  });
});
