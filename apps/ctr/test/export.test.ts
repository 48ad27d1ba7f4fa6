import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";

import { debianLibraries, debianTool, listTree, runProgram, sha256, startRegistry } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { Bench } from "./peers.ts";
import { BUSYBOX_IMAGE, startBench } from "./peers.ts";

const TIMEOUT = { timeout: 60_000 };
const LIMIT = { timeoutMs: 60_000 };
const SECOND = "docker.io/library/second:2";

describe.each(["berthd", "containerd"] as const)("images exported from %s", (kind) => {
  const stack = new AsyncDisposableStack();
  let bench: Bench;
  let archive: string;

  const place = (name: string): string => join(bench.directory.path, name);
  const say = (...args: readonly string[]): Promise<string> => bench.say(...args);
  const go = async (...args: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await bench.daemon.ctr(args, LIMIT);
    expect({ args, code, stderr }).toMatchObject({ args, code: 0 });
    return stdout;
  };
  const tool = async (name: "skopeo" | "umoci", ...args: readonly string[]): Promise<string> => {
    const env = { ...process.env, LD_LIBRARY_PATH: debianLibraries() };
    const { code, stdout, stderr } = await runProgram(debianTool(name), args, { ...LIMIT, env });
    expect({ args, code, stderr: code === 0 ? "" : stderr }).toEqual({ args, code: 0, stderr: "" });
    return stdout;
  };
  const empty = async (): Promise<void> => {
    await say("images", "rm", "--sync", BUSYBOX_IMAGE, SECOND);
    expect(await say("content", "ls", "-q")).toBe("");
  };

  beforeAll(async () => {
    bench = stack.use(await startBench(kind));
    archive = place("ours.tar");
    await say("images", "tag", BUSYBOX_IMAGE, SECOND);
    expect(await say("images", "export", archive, BUSYBOX_IMAGE, SECOND)).toMatch(
      new RegExp(`^${archive} written\ttotal: \\d+\\.\\d MiB\n$`),
    );
  }, 60_000);

  afterAll(() => stack.disposeAsync());

  it("are imported by Go's ctr, and those that it exported by ours", TIMEOUT, async () => {
    const theirs = place("theirs.tar");
    await go("image", "export", theirs, BUSYBOX_IMAGE, SECOND);
    await empty();
    expect(await go("image", "import", archive)).toContain(BUSYBOX_IMAGE);
    expect(await say("images", "check", `name==${SECOND}`)).toMatch(/complete \(2\/2\).* true/);
    await empty();
    expect(await say("images", "import", theirs)).toContain(SECOND);
    expect(await say("images", "check", `name==${SECOND}`)).toMatch(/complete \(2\/2\).* true/);
  });

  it.each(["-", "/dev/stdout"])("are the same bytes each time, also on standard output, %s", TIMEOUT, async (out) => {
    const digest = sha256(await readFile(archive));
    const { stdout } = await runProgram(
      "sh",
      ["-c", `"$@" | sha256sum`, "sh", ...bench.command(["images", "export", out, BUSYBOX_IMAGE, SECOND])],
      LIMIT,
    );
    expect(`sha256:${stdout.split(" ")[0]}`).toBe(digest);
  });

  it("are read by skopeo, as an OCI layout and as a Docker archive, and unpacked by umoci", TIMEOUT, async () => {
    const layout = place("layout");
    await tool(
      "skopeo",
      "--insecure-policy",
      "copy",
      "--quiet",
      `oci-archive:${archive}:${SECOND.split(":")[1]}`,
      `oci:${layout}:latest`,
    );
    await using registry = await startRegistry();
    const name = `${registry.host}/from-archive:1`;
    const copied = ["copy", "--quiet", "--dest-tls-verify=false", `docker-archive:${archive}:second:2`];
    await tool("skopeo", "--insecure-policy", ...copied, `docker://${name}`);
    await say("images", "pull", name);
    expect(await say("images", "check", `name==${name}`)).toMatch(/complete \(2\/2\).* true/);
    await say("images", "rm", "--sync", name);
    const bundle = place("bundle");
    await tool("umoci", "unpack", "--image", `${layout}:latest`, bundle);
    expect([...(await listTree(join(bundle, "rootfs"))).keys()]).toContain("bin/busybox");
  });

  it.each([
    ["no image", ["images", "export", "out.tar"], /no image given/],
    ["an unknown image", ["images", "export", "out.tar", "example.org/none:1"], /none:1/],
    ["a directory that is not there", ["images", "export", "/nonexistent/out.tar", BUSYBOX_IMAGE], /nonexistent/],
  ])("say in one line what is wrong with %s", TIMEOUT, async (_name, args, message) => {
    const { code, stdout, stderr } = await bench.ctr(
      args.map((each) => (each === "out.tar" ? place(each) : each)),
      LIMIT,
    );
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr.trimEnd().split("\n")).toHaveLength(1);
    expect(stderr).toMatch(message);
    await expect(stat(place("out.tar"))).rejects.toThrow("ENOENT");
  });
});
