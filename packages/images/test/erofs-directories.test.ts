import { dirname, join } from "node:path";
import { readFile, stat } from "node:fs/promises";
import { gzipSync } from "node:zlib";

import { type TarEntryWithContent, writeTar } from "@berth/archive";
import { codeName, codeOf } from "@berth/errors";
import { type Descriptor, type Digest, MediaType } from "@berth/oci";
import { MemoryContentStore, newerTool, runProgram, sha256, temporaryDirectory } from "@berth/testing";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { makeErofs } from "../src/erofs/make-erofs.ts";

const content = new MemoryContentStore();
beforeEach(() => void vi.stubEnv("PATH", `${dirname(newerTool("mkfs.erofs"))}:${process.env["PATH"]}`));
afterEach(() => void vi.unstubAllEnvs());

async function layerOf(
  entries: readonly TarEntryWithContent[],
): Promise<{ readonly layer: Descriptor; readonly diffId: Digest }> {
  return put(Buffer.concat(await Array.fromAsync(writeTar(entries))));
}

async function put(tar: Uint8Array): Promise<{ readonly layer: Descriptor; readonly diffId: Digest }> {
  const bytes = gzipSync(tar);
  await using writer = await content.writer("layer");
  await writer.write(bytes);
  const digest = sha256(bytes);
  await writer.commit({ digest, size: bytes.length });
  return { layer: { mediaType: MediaType.ociLayerGzip, digest, size: bytes.length }, diffId: sha256(tar) };
}

const file = (path: string): TarEntryWithContent => ({ path, type: "file", content: Buffer.from("x") });

describe("makeErofs", () => {
  it("makes directories that the layer only reaches through 0755, and others as it says", async () => {
    await using directory = await temporaryDirectory("images");
    const described = { path: "bin", type: "directory", mode: 0o1777, uid: 4 } as const;
    const { layer, diffId } = await layerOf([file("etc/deep/x"), file("bin/x"), described]);
    const image = join(directory.path, "image");
    await makeErofs(content, layer, diffId, image, {});
    const out = join(directory.path, "out");
    expect(await runProgram(newerTool("fsck.erofs"), [`--extract=${out}`, image])).toMatchObject({ code: 0 });
    const modes = await Promise.all(["", "etc", "etc/deep", "bin"].map(async (name) => stat(join(out, name))));
    expect(modes.map(({ mode, uid }) => [mode.toString(8), uid])).toEqual([
      ["40755", 0],
      ["40755", 0],
      ["40755", 0],
      ["41777", 4],
    ]);
    await makeErofs(content, layer, diffId, `${image}.again`, {});
    expect(Buffer.compare(await readFile(image), await readFile(`${image}.again`))).toBe(0);
  });

  it("is refused what is no archive, and another layer", async () => {
    await using directory = await temporaryDirectory("images");
    const failure = async ({ layer, diffId }: Awaited<ReturnType<typeof put>>): Promise<string> =>
      makeErofs(content, layer, diffId, join(directory.path, "image"), {}).then(
        () => "made",
        (error: unknown) => codeName(codeOf(error)),
      );
    expect(await failure(await put(Buffer.alloc(100_000, "no archive")))).toBe("invalid_argument");
    const made = await layerOf([file("x")]);
    expect(await failure({ ...made, diffId: sha256(Buffer.from("another")) })).toBe("failed_precondition");
  });
});
