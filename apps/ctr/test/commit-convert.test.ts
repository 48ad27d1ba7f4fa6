import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { debianLibraries, debianTool, listTree, runProgram } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { Bench } from "./peers.ts";
import { BUSYBOX_IMAGE, startBench } from "./peers.ts";

const TIMEOUT = { timeout: 90_000 };
const LIMIT = { timeoutMs: 60_000 };
const DIGEST = /^sha256:[0-9a-f]{64}\n$/;

describe.each(["berthd", "containerd"] as const)("images made by ctr, on %s", (kind) => {
  const stack = new AsyncDisposableStack();
  let bench: Bench;

  const place = (name: string): string => join(bench.directory.path, name);
  const sayIn = async (env: NodeJS.ProcessEnv, ...args: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await bench.ctr(args, { ...LIMIT, env });
    expect({ args, code, stderr }).toEqual({ args, code: 0, stderr: "" });
    return stdout;
  };
  const say = (...args: readonly string[]): Promise<string> => sayIn(process.env, ...args);
  const fail = async (...args: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await bench.ctr(args, LIMIT);
    expect({ args, code, stdout }).toEqual({ args, code: 1, stdout: "" });
    expect(stderr).toMatch(/^ctr: [^\n]+\n$/);
    return stderr;
  };
  const tool = async (name: "skopeo" | "umoci", ...args: readonly string[]): Promise<string> => {
    const env = { ...process.env, LD_LIBRARY_PATH: debianLibraries() };
    const { code, stdout, stderr } = await runProgram(debianTool(name), args, { ...LIMIT, env });
    expect({ args, code, stderr: code === 0 ? "" : stderr }).toEqual({ args, code: 0, stderr: "" });
    return stdout;
  };
  /** The tree that umoci makes of an image, by way of our export and skopeo. */
  const unpacked = async (image: string, name: string): Promise<string> => {
    const [archive, layout, bundle] = [place(`${name}.tar`), place(`${name}-layout`), place(`${name}-bundle`)];
    await say("images", "export", archive, image);
    const from = `oci-archive:${archive}:${image.split(":")[1]}`;
    await tool("skopeo", "--insecure-policy", "copy", "--quiet", from, `oci:${layout}:latest`);
    await tool("umoci", "unpack", "--image", `${layout}:latest`, bundle);
    return join(bundle, "rootfs");
  };
  const layersOf = async (
    image: string,
  ): Promise<readonly { readonly mediaType: string; readonly digest: string }[]> => {
    const [row = ""] = (await say("images", "ls", `name==${image}`)).split("\n").slice(1);
    const [digest = ""] = /sha256:\S+/.exec(row) ?? [];
    return JSON.parse(await say("content", "get", digest)).layers;
  };

  beforeAll(async () => {
    bench = stack.use(await startBench(kind));
    const script = "echo made > /made; chmod 640 /made; echo ready; exec sleep 1000";
    await say("run", "-d", "--null-io", BUSYBOX_IMAGE, `origin-${kind}`, "sh", "-c", script);
    for (let tries = 0; tries < 100; tries += 1) {
      const { stdout } = await bench.ctr([
        "tasks",
        "exec",
        "--exec-id",
        `see-${tries}`,
        `origin-${kind}`,
        "cat",
        "/made",
      ]);
      if (stdout === "made\n") return;
      await sleep(50);
    }
    throw new Error("the container did not write its file");
  }, 60_000);

  afterAll(async () => {
    await bench.ctr(["tasks", "rm", "-f", `origin-${kind}`], LIMIT);
    await bench.ctr(["containers", "rm", `origin-${kind}`], LIMIT);
    await stack.disposeAsync();
  });

  it.each(["gzip", "zstd", "none"])(
    "hold what a running container has changed, compressed by %s",
    TIMEOUT,
    async (compression) => {
      const name = `example.org/committed:${compression}`;
      const flags = [
        "--compression",
        compression,
        "-a",
        "me",
        "-m",
        "why",
        "-c",
        'CMD ["cat", "/made"]',
        "--label",
        "x=y",
      ];
      expect(await say("containers", "commit", ...flags, `origin-${kind}`, name)).toMatch(DIGEST);
      expect(await say("tasks", "ls")).toMatch(new RegExp(`^origin-${kind} +\\d+ +RUNNING`, "m"));
      expect(await say("images", "check", `name==${name}`)).toMatch(/complete \(3\/3\)/);
      expect(await say("images", "ls", `name==${name}`)).toContain("x=y");
      expect(await say("run", "--rm", name, `committed-${kind}-${compression}`)).toBe("made\n");
    },
  );

  it("are the same with SOURCE_DATE_EPOCH, and read by skopeo and umoci", TIMEOUT, async () => {
    const name = "example.org/epoch:1";
    const env = { ...process.env, SOURCE_DATE_EPOCH: "86400" };
    const first = await sayIn(env, "containers", "commit", `origin-${kind}`, name);
    await sleep(1100);
    expect(await sayIn(env, "containers", "commit", `origin-${kind}`, name)).toBe(first);
    expect(
      await sayIn({ ...env, SOURCE_DATE_EPOCH: "86401" }, "containers", "commit", `origin-${kind}`, name),
    ).not.toBe(first);
    const rootfs = await unpacked(name, "epoch");
    expect(await readFile(join(rootfs, "made"), "utf8")).toBe("made\n");
    expect([...(await listTree(rootfs)).keys()]).toContain("bin/busybox");
  });

  it("are flat when squashed", TIMEOUT, async () => {
    const name = "example.org/flat:1";
    await say("containers", "commit", "--squash", "--pause=false", `origin-${kind}`, name);
    expect(await layersOf(name)).toHaveLength(1);
    const rootfs = await unpacked(name, "flat");
    expect([...(await listTree(rootfs)).keys()]).toEqual(expect.arrayContaining(["made", "bin/busybox"]));
  });

  it.each([
    ["a container that is not there", ["containers", "commit", "nothing", "example.org/x:1"], /nothing/],
    ["a short name", ["containers", "commit", "origin", "short"], /host and path/],
    ["no name", ["containers", "commit", "origin"], /no name/],
    ["a change that is none", ["containers", "commit", "-c", "RUN true", "origin", "example.org/x:1"], /RUN true/],
    ["an unknown compression", ["containers", "commit", "--compression", "xz", "origin", "example.org/x:1"], /xz/],
    ["two compressions", ["images", "convert", "--zstd", "--uncompress", BUSYBOX_IMAGE, "example.org/x:1"], /exclude/],
    ["estargz", ["images", "convert", "--estargz", BUSYBOX_IMAGE, "example.org/x:1"], /not built in/],
    ["an unknown image", ["images", "convert", "--zstd", "example.org/none:1", "example.org/x:1"], /none:1/],
    [
      "a platform without an image",
      ["images", "convert", "--platform", "plan9/386", BUSYBOX_IMAGE, "example.org/x:1"],
      /platform/,
    ],
  ])("are not made of %s", TIMEOUT, async (_name, args, message) => {
    expect(await fail(...args.map((each) => (each === "origin" ? `origin-${kind}` : each)))).toMatch(message);
  });

  it.each([
    ["--zstd", "application/vnd.oci.image.layer.v1.tar+zstd"],
    ["--uncompress", "application/vnd.oci.image.layer.v1.tar"],
  ])("are converted by %s to others that run", TIMEOUT, async (flag, mediaType) => {
    const name = `example.org/converted:${flag.slice(2)}`;
    const digest = await say("images", "convert", flag, "--oci", BUSYBOX_IMAGE, name);
    expect(digest).toMatch(DIGEST);
    expect(await say("images", "convert", flag, "--oci", BUSYBOX_IMAGE, name)).toBe(digest);
    expect((await layersOf(name)).map((layer) => layer.mediaType)).toEqual([mediaType]);
    expect(await say("images", "check", `name==${name}`)).toMatch(/complete \(2\/2\)/);
    // Debian's umoci reads no zstd.
    if (flag === "--uncompress") {
      expect([...(await listTree(await unpacked(name, "plain"))).keys()]).toContain("bin/busybox");
    }
    // Its layers are those that are unpacked already.
    expect(await say("run", "--rm", name, `converted-${kind}-${flag.slice(2)}`, "echo", "runs")).toBe("runs\n");
  });
});
