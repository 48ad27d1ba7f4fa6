import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { newerTool, runProgram } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { Bench } from "./peers.ts";
import { BUSYBOX_IMAGE, startBench } from "./peers.ts";

const TIMEOUT = { timeout: 60_000 };
const EROFS = "application/vnd.erofs.layer.v1";
const TOOLS = dirname(newerTool("mkfs.erofs"));
const LIST =
  "cd /; find . -xdev -path ./proc -prune -o -path ./dev -prune -o -path ./sys -prune -o -exec stat -c '%n %f %u %g' {} + | grep -v '^\\. ' | sed 's/ a1.. / link /' | sort";
const sha256 = (bytes: Uint8Array): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

interface Manifest {
  readonly config: { readonly digest: string };
  readonly layers: readonly { readonly mediaType: string; readonly digest: string }[];
}

describe("images whose layers are EROFS images", () => {
  const stack = new AsyncDisposableStack();
  let bench: Bench;
  let temporary: string;

  beforeAll(async () => {
    const config = `[plugins."io.containerd.service.v1.diff-service"]\ndefault = ["erofs", "walking"]\n`;
    bench = stack.use(await startBench("berthd", { config, path: [TOOLS] }));
    temporary = join(bench.directory.path, "tmp");
    await mkdir(temporary);
  }, 60_000);
  afterAll(() => stack.disposeAsync());

  const call = (args: readonly string[], PATH = `${TOOLS}:${process.env["PATH"]}`) =>
    bench.ctr(args, { timeoutMs: 45_000, env: { ...process.env, TMPDIR: temporary, PATH } });
  const say = async (...args: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await call(args);
    expect({ args, code, stderr }).toEqual({ args, code: 0, stderr: "" });
    return stdout;
  };
  const read = async (digest: string) => JSON.parse(await say("content", "get", digest.trim()));

  it("are made of others, mounted as they are, and hold the same tree", TIMEOUT, async () => {
    const digest = await say("images", "convert", "--erofs", "raw", "--oci", BUSYBOX_IMAGE, "example.org/erofs:raw");
    // The time at which it is made is not in it.
    await sleep(1100);
    expect(await say("images", "convert", "--erofs", "raw", "--oci", BUSYBOX_IMAGE, "example.org/erofs:raw")).toBe(
      digest,
    );
    const { config, layers }: Manifest = await read(digest);
    expect(layers.map(({ mediaType }) => mediaType)).toEqual(layers.map(() => EROFS));
    expect(await read(config.digest)).toMatchObject({
      "os.features": ["erofs"],
      rootfs: { type: "layers", diff_ids: layers.map((layer) => layer.digest) },
    });
    expect(await say("content", "ls", `digest==${layers[0]?.digest}`)).toContain(
      `containerd.io/uncompressed=${layers[0]?.digest}`,
    );
    const plain = await say("run", "--rm", BUSYBOX_IMAGE, "plain", "sh", "-c", LIST);
    expect(plain).toContain("./bin/sh ");
    for (const form of ["raw", "zstd"]) {
      const name = `example.org/erofs:${form}`;
      await say("images", "convert", "--erofs", form, "--erofs-compressors", "lz4", BUSYBOX_IMAGE, `${name}-lz4`);
      if (form === "zstd") await say("images", "convert", "--erofs", form, BUSYBOX_IMAGE, name);
      for (const each of [name, `${name}-lz4`])
        expect(await say("run", "--rm", "--snapshotter", "erofs", each, `from-${form}`, "sh", "-c", LIST)).toBe(plain);
    }
    expect(await readdir(temporary)).toEqual([]);
  });

  it("are put into a cache of the snapshotter, layer by layer", TIMEOUT, async () => {
    const cache = join(bench.directory.path, "cache");
    const digest = await say("images", "convert", "--erofs", "raw", BUSYBOX_IMAGE, "example.org/erofs:cached");
    const source: Manifest = await read(
      /sha256:\S+/.exec(await say("images", "ls", `name==${BUSYBOX_IMAGE}`))?.[0] ?? "",
    );
    const { rootfs } = await read(source.config.digest);
    for (const _again of [1, 2])
      expect(await say("images", "build-erofs-cache", BUSYBOX_IMAGE, cache)).toBe(`${cache}\n`);
    const { layers }: Manifest = await read(digest);
    for (const [index, diffId] of rootfs.diff_ids.entries()) {
      const [, hex] = diffId.split(":");
      const path = join(cache, "sha256", hex.slice(0, 2), `${hex}.erofs`);
      expect(sha256(await readFile(path))).toBe(layers[index]?.digest);
      expect(await runProgram(newerTool("fsck.erofs"), [path])).toMatchObject({ code: 0 });
    }
    expect(await readdir(cache)).toEqual(["sha256"]);
  });

  it.each([
    ["an unknown form", ["--erofs", "gzip"], /raw, zstd/],
    ["two forms", ["--erofs", "raw", "--zstd"], /exclude/],
    ["options alone", ["--erofs-compressors", "lz4"], /--erofs/],
    [
      "options that mkfs.erofs refuses",
      ["--erofs", "raw", "--erofs-mkfs-options", "--nonsense=1"],
      /mkfs\.erofs ended with/,
    ],
  ])("are refused for %s, and leave nothing", TIMEOUT, async (_, flags, message) => {
    const { code, stderr } = await call(["images", "convert", ...flags, BUSYBOX_IMAGE, "example.org/x:1"]);
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(message) });
    expect(stderr).toMatch(/^ctr: [^\n]+\n$/);
    expect(await readdir(temporary)).toEqual([]);
    expect(await say("images", "ls", "-q")).not.toContain("example.org/x:1");
  });

  it("need mkfs.erofs", TIMEOUT, async () => {
    const args = ["images", "convert", "--erofs", "raw", BUSYBOX_IMAGE, "example.org/x:1"];
    const without = (process.env["PATH"] ?? "").split(":").filter((each) => !existsSync(join(each, "mkfs.erofs")));
    const { code, stderr } = await call(args, without.join(":"));
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/mkfs\.erofs is not installed/) });
    expect(await readdir(temporary)).toEqual([]);
  });
});
