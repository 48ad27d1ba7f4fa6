import { chmod, readdir, readFile, stat, utimes, writeFile } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { codeName, codeOf, systemErrorCode } from "@berth/errors";
import type { Descriptor, DigestAlgorithm } from "@berth/oci";
import { digestHex, hostPlatform, MediaType, only } from "@berth/oci";
import { buildImage, digestBytes, MemoryContentStore, newerTool, temporaryDirectory } from "@berth/testing";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { buildErofsCache, convertImage } from "../src/index.ts";
import { makeErofs } from "../src/erofs/make-erofs.ts";

const TOOLS = dirname(newerTool("mkfs.erofs"));

describe("EROFS images of layers", () => {
  let stack: AsyncDisposableStack;
  let directory: string;
  let content: MemoryContentStore;
  let tar: Uint8Array;

  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    directory = stack.use(await temporaryDirectory("erofs")).path;
    content = new MemoryContentStore();
    vi.stubEnv("PATH", `${TOOLS}${delimiter}${process.env["PATH"]}`);
    stack.defer(() => void vi.unstubAllEnvs());
    const file = { path: "file", type: "file", size: 4, content: Buffer.from("text") } as const;
    const { layers, blobs } = await buildImage({ name: "x:1", layers: [[file]], compression: "none" });
    const [layer] = layers;
    tar = (layer && blobs.get(layer.digest)) ?? new Uint8Array();
  });

  afterEach(() => stack.disposeAsync());

  const add = (bytes: Uint8Array, algorithm: DigestAlgorithm = "sha256"): Descriptor => {
    const digest = digestBytes(bytes, algorithm);
    content.blobs.set(digest, { bytes, labels: new Map() });
    return { mediaType: MediaType.ociLayer, digest, size: bytes.length };
  };
  const make = async (layer: Descriptor, diffId = layer.digest, signal?: AbortSignal): Promise<string> => {
    const path = join(directory, "layer.erofs");
    const error: unknown = await makeErofs(content, layer, diffId, path, { signal }).catch((thrown: unknown) => thrown);
    return error === undefined ? "ok" : codeName(codeOf(error));
  };
  /** Lets a shell script stand for the program: after its help, which is asked for first. */
  const pretend = async (script: string): Promise<void> => {
    const path = join(directory, "mkfs.erofs");
    await writeFile(path, `#!/bin/sh\n[ "$1" = --help ] && echo "--tar=X" && exit\n${script}\n`);
    await chmod(path, 0o755);
    vi.stubEnv("PATH", `${directory}${delimiter}${process.env["PATH"]}`);
  };

  it.each(["sha256", "sha512"] as const)("compares the diff id by its own algorithm, %s", async (algorithm) => {
    const layer = add(tar);
    expect(await make(layer, digestBytes(tar, algorithm))).toBe("ok");
    expect(await make(layer, digestBytes(Buffer.from("other"), algorithm))).toBe("failed_precondition");
  });

  it("reads what stands behind the end of the archive, however much, for the diff id alone", async () => {
    const padded = add(Buffer.concat([tar, new Uint8Array(8 << 20)]));
    expect(await make(padded)).toBe("ok");
    expect(await make(padded, add(tar).digest)).toBe("failed_precondition");
  });

  /** An image in the store whose layers are these. */
  const imageOf = (layers: readonly Descriptor[]): Descriptor => {
    const json = (mediaType: string, value: unknown): Descriptor => ({
      ...add(Buffer.from(JSON.stringify(value))),
      mediaType,
    });
    const rootfs = { type: "layers", diff_ids: layers.map(({ digest }) => digest) };
    const config = json(MediaType.ociConfig, { ...hostPlatform(), rootfs });
    return json(MediaType.ociManifest, { schemaVersion: 2, config, layers });
  };

  it("keeps an EROFS image among other layers of an image, and converts those", async () => {
    const erofs = { ...add(Buffer.from("an image")), mediaType: "application/vnd.erofs.layer.v1" };
    const made = await convertImage(imageOf([add(tar), erofs]), { content, erofs: {} });
    const read = ({ digest }: Descriptor) => JSON.parse(Buffer.from(content.blobs.get(digest)?.bytes ?? []).toString());
    const { layers, config: newConfig } = read(made);
    expect(layers).toEqual([expect.objectContaining({ mediaType: erofs.mediaType }), erofs]);
    expect(read(newConfig).rootfs.diff_ids).toEqual(layers.map(({ digest }: Descriptor) => digest));
    // Where nothing is left to do, nothing is made.
    expect(await convertImage(made, { content, erofs: {} })).toEqual(made);
  });

  it("makes a cache that all may read, and removes what was left in it long ago", async () => {
    await pretend(`umask 077; exec ${TOOLS}/mkfs.erofs "$@"`);
    const [old, young] = ["old", "young"].map((name) => join(directory, `.build-${name}.erofs`));
    for (const path of [old, young]) await writeFile(path ?? "", "");
    await utimes(old ?? "", 0, 0);
    const layer = add(tar);
    await buildErofsCache(imageOf([layer]), directory, { content, platform: only(hostPlatform()) });
    const hex = digestHex(layer.digest);
    const { mode } = await stat(join(directory, "sha256", hex.slice(0, 2), `${hex}.erofs`));
    expect(mode & 0o777).toBe(0o644);
    expect((await readdir(directory)).filter((name) => name.startsWith("."))).toEqual([".build-young.erofs"]);
  });

  it("says how the program failed that did not read all", async () => {
    await pretend("exit 3");
    expect(await make(add(new Uint8Array(8 << 20)))).toBe("unknown");
  });

  it("ends the program when it is cancelled, also after it has all of the layer", async () => {
    const pid = join(directory, "pid");
    await pretend(`cat >/dev/null; echo $$ >${pid}.new; mv ${pid}.new ${pid}; exec sleep 60`);
    const abort = new AbortController();
    const making = makeErofs(content, add(tar), add(tar).digest, join(directory, "x"), { signal: abort.signal });
    making.catch(() => {});
    const child = await vi.waitFor(async () => Number(await readFile(pid, "utf8")), { timeout: 10_000 });
    abort.abort(new Error("enough"));
    await Promise.race([expect(making).rejects.toThrow("enough"), sleep(10_000)]);
    const gone: unknown = await Promise.resolve(child)
      .then((each) => process.kill(each, 0))
      .catch((error: unknown) => systemErrorCode(error));
    expect(gone).toBe("ESRCH");
  });
});
