import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import type { Comparer, CompareOptions } from "@berth/core/diff";
import type { Mount } from "@berth/core/mount";
import { createComparer, createLayerEngine } from "@berth/diff";
import { codeName, codeOf } from "@berth/errors";
import { type Descriptor, MediaType } from "@berth/oci";
import { MemoryContentStore } from "@berth/testing";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";

import { LayerFixture } from "./layer-fixture.ts";

let fixture: LayerFixture;
let content: MemoryContentStore;
let comparer: Comparer;
const engine = createLayerEngine();

beforeEach(() => {
  fixture = new LayerFixture();
  content = new MemoryContentStore();
  comparer = createComparer({ content, engine });
});
afterEach(() => {
  using own = fixture;
  expect(readFileSync("/proc/self/mounts", "utf8")).not.toContain(own.directory);
  expect(content.ingests.size).toBe(0);
});
afterAll(() => engine[Symbol.asyncDispose]());

const plain = (lower: readonly Mount[], upper: readonly Mount[], options: CompareOptions = {}): Promise<Descriptor> =>
  comparer.compare(lower, upper, { mediaType: MediaType.ociLayer, ...options });

const put = (root: string, name: string, text: string): void => writeFileSync(join(root, name), text);

describe("Comparer that cannot do it", () => {
  it("knows no other media type", async () => {
    const making = comparer.compare([], [], { mediaType: "application/vnd.erofs.layer.v1" });
    expect(codeName(codeOf(await making.catch((error: unknown) => error)))).toBe("unimplemented");
  });

  it("uses the ref given from its start, and leaves it for a retry when it fails", async () => {
    put(fixture.make("upper"), "file", "x");
    {
      await using writer = await content.writer("mine");
      await writer.write(Buffer.from("left over"));
    }
    const failing = plain([{ ...fixture.bind("x"), source: "/nowhere/at/all" }], [], { ref: "mine" });
    expect(codeName(codeOf(await failing.catch((error: unknown) => error)))).toBe("not_found");
    expect(content.ingests.has("mine")).toBe(true);
    const again = await plain([], [fixture.bind("upper")], { ref: "mine" });
    expect(again).toEqual(await plain([], [fixture.bind("upper")]));
  });

  it("stops when cancelled, and leaves neither ingest nor mount", async () => {
    put(fixture.make("upper"), "large", "x".repeat(50_000_000));
    const controller = new AbortController();
    const writer = content.writer.bind(content);
    content.writer = async (...args) => {
      const made = await writer(...args);
      const write = made.write.bind(made);
      made.write = async (chunk) => {
        await write(chunk);
        controller.abort();
      };
      return made;
    };
    const making = plain([], [fixture.bind("upper")], { signal: controller.signal });
    expect(codeName(codeOf(await making.catch((error: unknown) => error)))).toBe("canceled");
    expect(content.blobs.size).toBe(0);
  });

  it("tells of a store that fails, not of the work that was stopped for it", async () => {
    put(fixture.make("upper"), "large", "x".repeat(5_000_000));
    const writer = content.writer.bind(content);
    content.writer = async (...args) =>
      Object.assign(await writer(...args), {
        write: async () => {
          throw Object.assign(new Error("disk full"), { code: "ENOSPC", errno: -28, syscall: "write" });
        },
      });
    const making = plain([], [fixture.bind("upper")]);
    expect(codeName(codeOf(await making.catch((error: unknown) => error)))).toBe("resource_exhausted");
  });
});
