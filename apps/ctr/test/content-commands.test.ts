import { createServer } from "node:http";
import { access, chmod, mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { isMountPoint } from "@berth/linux/mount";
import type { FaultRegistry, PeerRegistry } from "@berth/testing";
import { buildImage, busyboxImage, sha256, startFaultRegistry, startRegistry } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { Bench } from "./peers.ts";
import { BUSYBOX_IMAGE, startBench } from "./peers.ts";

const file = (path: string, text: string, mode = 0o755) => ({
  path,
  type: "file" as const,
  mode,
  size: text.length,
  content: Buffer.from(text),
});

const TIMEOUT = { timeout: 60_000 };
const LIMIT = { timeoutMs: 60_000 };

describe.each(["berthd", "containerd"] as const)("content and images on %s", (kind) => {
  const stack = new AsyncDisposableStack();
  let bench: Bench;
  let registry: PeerRegistry;

  const place = (name: string): string => join(bench.directory.path, name);
  const say = (...args: readonly string[]): Promise<string> => bench.say(...args);
  const fail = (...args: readonly string[]): Promise<string> => bench.fail(...args);
  const digestOf = async (image: string): Promise<string> =>
    /sha256:[0-9a-f]{64}/.exec(await say("images", "ls", `name==${image}`))?.[0] ?? "";

  beforeAll(async () => {
    bench = stack.use(await startBench(kind));
    registry = stack.use(await startRegistry());
    await say("images", "push", `${registry.host}/team/busybox:1`, BUSYBOX_IMAGE);
  }, 60_000);

  afterAll(() => stack.disposeAsync());

  it("is fetched without being unpacked, and its documents alone", TIMEOUT, async () => {
    const name = `${registry.host}/team/busybox:1`;
    const namespace = ["-n", "fetched"];
    expect(await say(...namespace, "content", "fetch", "--metadata-only", name)).toMatch(/resolved: sha256:/);
    expect(await say(...namespace, "images", "check")).toMatch(/incomplete \(1\/2\)/);
    await say(...namespace, "content", "fetch", "--label", "a=b", name);
    expect(await say(...namespace, "images", "check")).toMatch(/complete \(2\/2\).* false/);
    expect(await say(...namespace, "images", "inspect", name)).not.toContain("not here");
  });

  it("is read from a registry and written to it, object by object", TIMEOUT, async () => {
    const name = `${registry.host}/team/busybox:1`;
    const { manifest, config, blobs } = await busyboxImage();
    const object = await say("content", "fetch-object", name);
    expect(sha256(Buffer.from(object))).toBe(manifest.digest);
    expect(await say("content", "fetch-object", name, config.digest)).toBe(
      Buffer.from(blobs.get(config.digest) ?? "").toString(),
    );
    const both = await say("content", "fetch-blob", name, config.digest, config.digest);
    expect(both.length).toBe(2 * config.size);
    for (const { digest, mediaType } of [...(await layers()), config, manifest])
      expect(await say("content", "push-object", `${registry.host}/other/copy:1`, digest, mediaType)).toBe(
        `pushed ${digest} ${mediaType}\n`,
      );
    expect(await say("content", "fetch-object", `${registry.host}/other/copy:1`)).toBe(object);
    expect(await fail("content", "fetch-blob", name, sha256(Buffer.from("none")))).toMatch(/404/);

    async function layers() {
      return (await busyboxImage()).layers;
    }
  });

  it("is refused by the exit code when a registry lies", TIMEOUT, async () => {
    await using liar: FaultRegistry = await startFaultRegistry();
    const bytes = Buffer.from(JSON.stringify({ a: "long enough" }));
    const digest = liar.add(bytes, "application/vnd.oci.image.manifest.v1+json");
    liar.tag("1", digest);
    liar.fault = ({ method }) => (method === "GET" ? { kind: "corrupt" } : undefined);
    expect(await fail("content", "fetch-object", `${liar.host}/team/liar:1`)).toMatch(/sha256:/);
  });

  it("is edited, and the result kept", TIMEOUT, async () => {
    const digest = (await say("content", "ls", "-q")).split("\n")[0] ?? "";
    const { config } = await busyboxImage();
    const editor = "sed -i s/linux/LINUX/";
    const edited = (await say("content", "edit", "--editor", editor, "--validate", "json", config.digest)).trim();
    expect(edited).toMatch(/^sha256:/);
    expect(await say("content", "get", edited)).toContain('"LINUX"');
    expect(await say("leases", "ls")).toMatch(/edit-sha256/);
    expect(digest).not.toBe("");
    expect(await fail("content", "edit", "--editor", "false", config.digest)).toMatch(/nothing is stored/);
    expect(await fail("content", "edit", "--editor", "sed -i 1d", "--validate", "json", config.digest)).toMatch(
      /not JSON/,
    );
    expect(await fail("content", "edit", "--editor", "true", sha256(Buffer.from("none")))).toMatch(/not found/);
  });

  it("lets go of layers that are unpacked", TIMEOUT, async () => {
    const namespace = ["-n", "pruned"];
    await say(...namespace, "images", "import", "--local", bench.archive);
    const dry = await say(...namespace, "content", "prune", "references", "--dry");
    expect(dry).toMatch(/^sha256:[0-9a-f]{64} containerd\.io\/gc\.ref\.content\.l\.0=sha256:/m);
    const [, layer = "none"] = /=(sha256:[0-9a-f]{64})\n/.exec(dry) ?? [];
    expect(await say(...namespace, "content", "ls", "-q")).toContain(layer);
    expect(await say(...namespace, "content", "prune", "references")).toBe(dry);
    expect(await say(...namespace, "content", "ls", "-q")).not.toContain(layer);
    expect(await say(...namespace, "images", "inspect", BUSYBOX_IMAGE)).toContain("not here");
    expect(await say(...namespace, "run", "--rm", BUSYBOX_IMAGE, `pruned-${kind}`, "echo", "runs")).toBe("runs\n");
  });

  it("images are inspected and measured", TIMEOUT, async () => {
    const digest = await digestOf(BUSYBOX_IMAGE);
    const tree = await say("images", "inspect", "--content", BUSYBOX_IMAGE);
    expect(tree).toMatch(new RegExp(`^└── application/vnd\\.oci\\.image\\.manifest\\.v1\\+json @${digest}`, "m"));
    expect(tree).toContain('"rootfs"');
    expect(await say("images", "usage", BUSYBOX_IMAGE)).toMatch(
      /^KEY +SIZE +INODES *\nsha256:[0-9a-f]{64} +[\d.]+ [KM]iB +\d+/,
    );
    expect(await fail("images", "inspect", "example.org/none:1")).toMatch(/none:1/);
  });

  it("images are mounted and unmounted", TIMEOUT, async () => {
    const target = place("mnt");
    await mkdir(target);
    expect(await say("images", "mount", BUSYBOX_IMAGE, target)).toBe(`${target}\n`);
    try {
      expect(isMountPoint(target)).toBe(true);
      await access(join(target, "bin", "busybox"));
      await expect(writeFile(join(target, "new"), "x")).rejects.toThrow("EROFS");
      expect(await say("snapshots", "ls")).toContain(target);
    } finally {
      expect(await say("images", "unmount", "--rm", target)).toBe(`${target}\n`);
    }
    expect(isMountPoint(target)).toBe(false);
    expect(await say("snapshots", "ls")).not.toContain(target);
    expect(await say("leases", "ls")).not.toContain(target);
    expect(await fail("images", "unmount", target)).toMatch(/nothing is mounted/);
    const made = (await say("images", "mount", "--rw", BUSYBOX_IMAGE)).trim();
    await writeFile(join(made, "new"), "x");
    await say("images", "unmount", "--rm", made);
    await expect(access(made)).rejects.toThrow("ENOENT");
    expect(await fail("images", "mount", "example.org/none:1", target)).toMatch(/none:1/);
    expect(await say("leases", "ls")).not.toContain(target);
    expect(await fail("images", "mount", BUSYBOX_IMAGE, place("missing"))).toMatch(/missing/);
  });

  it("programs of an image are installed, and nothing else of it", TIMEOUT, async () => {
    const image = await buildImage({
      name: "example.org/tools:1",
      layers: [
        [
          { path: "bin/", type: "directory", mode: 0o755 },
          file("bin/tool", "one", 0o4755),
          file("bin/gone", "x"),
          file("bin/deeper/tool", "x"),
          file("../outside", "x"),
          file("bin/../../outside", "x"),
          file("etc/passwd", "x"),
          file("lib/libtool.so", "lib", 0o644),
          { path: "bin/alias", type: "symlink", linkPath: "/etc/passwd" },
          { path: "bin/hard", type: "link", linkPath: "bin/tool" },
        ],
        [file("bin/.wh.gone", ""), file("bin/alias", "a file"), file("bin/.wh...", "")],
      ],
    });
    const archive = place("tools.tar");
    await writeFile(archive, image.archive);
    await say("images", "import", "--local", "--no-unpack", archive);
    const path = place("opt");
    const installed = await say("install", "--path", path, image.name);
    expect(installed.trim().split("\n").toSorted()).toEqual(
      ["alias", "hard", "tool"].map((name) => join(path, "bin", name)),
    );
    expect((await stat(join(path, "bin", "tool"))).mode & 0o7777).toBe(0o755);
    expect(await readFile(join(path, "bin", "alias"), "utf8")).toBe("a file");
    await expect(access(place("outside"))).rejects.toThrow("ENOENT");
    await writeFile(join(path, "bin", "tool"), "mine");
    await chmod(join(path, "bin", "tool"), 0o700);
    expect(await fail("install", "--path", path, "-l", image.name)).toMatch(/is there/);
    expect(await readFile(join(path, "bin", "tool"), "utf8")).toBe("mine");
    await expect(access(join(path, "lib"))).rejects.toThrow("ENOENT");
    expect(await say("install", "--path", path, "--libs", "--replace", image.name)).toContain("libtool.so");
    expect(await readFile(join(path, "bin", "tool"), "utf8")).toBe("one");
    expect(await readFile("/etc/passwd", "utf8")).toContain("root:");
  });

  it.each([
    ["a whole part", [file(".wh.bin", ""), file("bin/new", "n")], ["new"]],
    ["a whole part, after what replaces it", [file("bin/new", "n"), file("./.wh.bin", "")], ["new"]],
    ["all", [file("bin/new", "n"), file(".wh..wh..opq", "")], ["new"]],
    ["another part", [file("bin/new", "n"), file(".wh.lib", "")], ["alias", "new", "old"]],
    ["a file that the layer has anew", [file("bin/old", "n"), file("bin/.wh.old", "")], ["alias", "old"]],
    ["all in a part but its own", [file("bin/new", "n"), file("bin/.wh..wh..opq", "")], ["new"]],
    [
      "what a link of its own stands for",
      [{ path: "bin/new", type: "link", linkPath: "bin/old" } as const, file("bin/.wh.old", "")],
      ["alias", "new"],
    ],
    ["a directory in place of a file", [{ path: "bin/old/", type: "directory", mode: 0o755 } as const], ["alias"]],
    ["a directory that only what is in it tells of", [file("bin/old/x", "n")], ["alias"]],
    ["a pipe in place of a file", [{ path: "bin/old", type: "fifo" } as const], ["alias"]],
    ["a link in place of a file", [{ path: "bin/old", type: "symlink", linkPath: "x" } as const], ["alias", "old"]],
    [
      "a link in place of the part",
      [{ path: "bin", type: "symlink", linkPath: "usr/bin" } as const, file("lib/x", "n")],
      [],
    ],
  ])("a layer takes away what is below it: %s", TIMEOUT, async (what, upper, expected) => {
    const name = `example.org/layers:${sha256(Buffer.from(what)).slice(-8)}`;
    const alias = { path: "bin/alias", type: "symlink", linkPath: "old" } as const;
    const image = await buildImage({ name, layers: [[file("bin/old", "o"), alias], upper] });
    const archive = place("layers.tar");
    await writeFile(archive, image.archive);
    await say("images", "import", "--local", "--no-unpack", archive);
    const path = place(name.slice(-8));
    if (expected.length === 0) {
      expect(await fail("install", "--path", path, name)).toMatch(/nothing in bin/);
      return;
    }
    const installed = (await say("install", "--path", path, name)).trim().split("\n");
    expect(installed.toSorted()).toEqual(expected.map((each) => join(path, "bin", each)));
    const own = upper.find((entry) => entry.path === "bin/old");
    if (own?.type === "file") expect(await readFile(join(path, "bin/old"), "utf8")).toBe("n");
  });
});

it("pprof reads the debug socket, and says when there is none", TIMEOUT, async () => {
  await using stack = new AsyncDisposableStack();
  const bench = stack.use(await startBench("berthd"));
  const socket = join(bench.directory.path, "debug.sock");
  const asked: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url);
    if (request.url?.startsWith("/debug/pprof/block") === true) response.writeHead(404).end("no such profile");
    else response.end("a profile");
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  stack.defer(() => void server.close());
  const heap = await bench.ctr(["pprof", "-d", socket, "heap"], LIMIT);
  expect(heap).toMatchObject({ code: 0, stdout: "a profile" });
  await bench.ctr(["pprof", "--debug-socket", socket, "profile", "-s", "2s"], LIMIT);
  await bench.ctr(["pprof", "goroutines", "--debug-socket", socket], LIMIT);
  expect(asked).toEqual([
    "/debug/pprof/heap?debug=0",
    "/debug/pprof/profile?debug=0&seconds=2",
    "/debug/pprof/goroutine?debug=2",
  ]);
  const missing = await bench.ctr(["pprof", "-d", socket, "block"], LIMIT);
  expect(missing).toMatchObject({ code: 1, stdout: "" });
  expect(missing.stderr).toMatch(/^ctr: [^\n]*404[^\n]*\n$/);
  const none = await bench.ctr(["pprof", "-d", `${socket}.none`, "heap"], LIMIT);
  expect(none).toMatchObject({ code: 1, stdout: "" });
  expect(none.stderr).toMatch(/^ctr: [^\n]*debug-socket[^\n]*\n$/);
});
