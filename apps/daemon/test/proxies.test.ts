import { readdir } from "node:fs/promises";
import { join } from "node:path";

import type { BuiltImage, DaemonOptions, PeerDaemon } from "@berth/testing";
import { busyboxImage, sha256, startBerthd, startContainerd, temporaryDirectory } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { ServedStore } from "./served-stores.ts";
import { serveStore } from "./served-stores.ts";

const LOCAL_CONTENT = "io.containerd.content.v1.content";

const rows = (table: string): string[][] =>
  table
    .trim()
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/\s+/));

/** `scheme` may stand before the path of a socket; 1.6 does not know it. */
function proxyConfig(directory: string, scheme = "unix://"): string {
  return `
[proxy_plugins.bytes]
  type = "content"
  address = "${directory}/bytes.sock"
[proxy_plugins.far]
  type = "snapshot"
  address = "${scheme}${directory}/far.sock"
  platform = "linux/arm64"
  capabilities = ["remap-ids"]
  exports = { root = "/somewhere" }
`;
}

/** The stores of the READMEs in their own processes, under our daemon and under the one that the contracts were taken from. */
describe.each([
  { name: "berthd", start: startBerthd, scheme: "unix://", platform: "linux/arm64" },
  // 1.6 knows neither platform nor exports nor capabilities of proxies; unknown keys of the file are fine there too.
  { name: "containerd", start: startContainerd, scheme: "", platform: "-" },
])("stores of another process under $name", ({ name, start, scheme, platform }) => {
  const stack = new AsyncDisposableStack();
  let directory: string;
  let daemon: PeerDaemon;
  let image: BuiltImage;
  let content: ServedStore;

  const ctr = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await daemon.ctr(args);
    expect({ code, stderr: stderr.replace(/^WARNING: .*\n/gm, "") }).toEqual({ code: 0, stderr: "" });
    return stdout;
  };
  const serveContent = () => serveStore("content", join(directory, "bytes"), join(directory, "bytes.sock"));

  beforeAll(async () => {
    directory = stack.use(await temporaryDirectory("proxies")).path;
    stack.use(await serveStore("snapshotters", join(directory, "far"), join(directory, "far.sock")));
    content = await serveContent();
    stack.defer(() => content[Symbol.asyncDispose]());
    daemon = stack.use(await start({ config: proxyConfig(directory, scheme), disabledPlugins: [LOCAL_CONTENT] }));
    image = await busyboxImage();
    const imported = await daemon.ctr(["image", "import", "--snapshotter", "far", "-"], { input: image.archive });
    expect(imported).toMatchObject({ code: 0, stderr: "" });
  });
  afterAll(() => stack.disposeAsync());

  it("shows them as plugins", async () => {
    const plugins = rows(await ctr("plugins", "ls"));
    expect(plugins).toContainEqual(["io.containerd.content.v1", "bytes", expect.any(String), "ok"]);
    expect(plugins).toContainEqual(["io.containerd.snapshotter.v1", "far", platform, "ok"]);
    const detailed = await ctr("plugins", "ls", "--detailed", "id==far");
    expect(detailed).toMatch(/address\s+(unix:\/\/)?\/.*far\.sock/);
    if (name === "berthd") expect(detailed).toMatch(/root\s+\/somewhere\n(.*\n)*Capabilities:\s+remap-ids/);
  });

  it("keeps the bytes there", async () => {
    const stored = async () => (await readdir(join(directory, "bytes/blobs/sha256"))).map((hex) => `sha256:${hex}`);
    // The archive's index is there too, until the collector takes it: no image is named for it.
    await expect
      .poll(async () => (await stored()).toSorted(), { timeout: 10_000 })
      .toEqual([...image.blobs.keys()].toSorted());
    expect(await readdir(daemon.root)).not.toContain(LOCAL_CONTENT);
    expect(sha256(Buffer.from(await ctr("content", "get", image.config.digest)))).toBe(image.config.digest);
  });

  it("unpacks there, and runs a container from there", async () => {
    expect(rows(await ctr("snapshots", "--snapshotter", "far", "ls")).map(([key]) => key)).toEqual([image.diffIds[0]]);
    expect(await readdir(join(directory, "far/snapshots"))).not.toHaveLength(0);
    expect(await ctr("run", "--rm", "--snapshotter", "far", image.name, "c1", "echo", "from afar")).toBe("from afar\n");
    expect(rows(await ctr("snapshots", "--snapshotter", "far", "ls")).map(([key]) => key)).toEqual([image.diffIds[0]]);
  });

  it("collects what nobody refers to there", async () => {
    const blob = "nobody refers to this";
    await ctr("namespaces", "create", "other");
    const ingest = await daemon.ctr(["-n", "other", "content", "ingest", "ref"], { input: blob });
    expect(ingest.code).toBe(0);
    await ctr("image", "tag", image.name, "example.org/other:1");
    await ctr("image", "rm", "--sync", "example.org/other:1");
    const hexes = [...image.blobs.keys()].map((digest) => digest.slice("sha256:".length));
    await expect.poll(() => readdir(join(directory, "bytes/blobs/sha256"))).toEqual(hexes.toSorted());
  });

  it("says unavailable while one is away, and goes on when it is back", { timeout: 60_000 }, async () => {
    await content[Symbol.asyncDispose]();
    const { code, stderr } = await daemon.ctr(["content", "get", image.config.digest]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/unavailable/i);
    // What needs no bytes goes on.
    expect(await ctr("image", "ls", "-q")).toBe(`${image.name}\n`);
    content = await serveContent();
    await expect
      .poll(async () => (await daemon.ctr(["content", "get", image.config.digest])).code, { timeout: 20_000 })
      .toBe(0);
  });
});

describe("berthd with proxy plugins", () => {
  const start = (config: string, options: DaemonOptions = {}) => startBerthd({ config, ...options });
  const plugins = async (daemon: PeerDaemon) => rows((await daemon.ctr(["plugins", "ls"])).stdout);

  it("boots while nobody serves them, and is told so by each call", { timeout: 60_000 }, async () => {
    await using directory = await temporaryDirectory("nobody");
    await using daemon = await start(proxyConfig(directory.path), { disabledPlugins: [LOCAL_CONTENT] });
    expect((await plugins(daemon)).filter((row) => row.at(-1) === "error")).toEqual([]);
    const { code, stderr } = await daemon.ctr(["snapshots", "--snapshotter", "far", "prepare", "x"]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/unavailable/i);
    expect((await daemon.ctr(["image", "ls"])).code).toBe(0);
    await using _late = await serveStore("snapshotters", join(directory.path, "far"), join(directory.path, "far.sock"));
    expect((await daemon.ctr(["snapshots", "--snapshotter", "far", "prepare", "x"])).code).toBe(0);
  });

  it(
    "waits for one that hangs no longer than its caller, and does other things meanwhile",
    { timeout: 60_000 },
    async () => {
      await using directory = await temporaryDirectory("hangs");
      await using served = await serveStore(
        "snapshotters",
        join(directory.path, "far"),
        join(directory.path, "far.sock"),
      );
      await using daemon = await start(proxyConfig(directory.path), { disabledPlugins: [LOCAL_CONTENT] });
      process.kill(served.pid, "SIGSTOP");
      const hanging = await daemon.ctr(["--timeout", "1s", "snapshots", "--snapshotter", "far", "prepare", "x"]);
      expect(hanging.code).toBe(1);
      expect(hanging.stderr).toContain("deadline exceeded");
      expect((await daemon.ctr(["snapshots", "--snapshotter", "overlayfs", "prepare", "x"])).code).toBe(0);
      process.kill(served.pid, "SIGCONT");
      expect((await daemon.ctr(["snapshots", "--snapshotter", "far", "prepare", "y"])).code).toBe(0);
    },
  );

  it("lets go of an ingest whose store hangs, and stops while it hangs", { timeout: 90_000 }, async () => {
    await using directory = await temporaryDirectory("stuck");
    await using served = await serveStore("content", join(directory.path, "bytes"), join(directory.path, "bytes.sock"));
    await using daemon = await start(proxyConfig(directory.path), { disabledPlugins: [LOCAL_CONTENT] });
    const ingest = (...flags: string[]) =>
      daemon.ctr([...flags, "content", "ingest", "ref"], { input: "some bytes", timeoutMs: 30_000 });
    process.kill(served.pid, "SIGSTOP");
    expect((await ingest("--timeout", "1s")).stderr).toContain("deadline exceeded");
    process.kill(served.pid, "SIGCONT");
    // The daemon gives the store a while to let go of the ref.
    await expect.poll(async () => (await ingest()).code, { timeout: 30_000, interval: 500 }).toBe(0);
    process.kill(served.pid, "SIGSTOP");
    expect((await daemon.ctr(["--timeout", "1s", "content", "ls"])).code).toBe(0);
    await daemon.restart();
    expect((await daemon.ctr(["image", "ls"])).code).toBe(0);
  });

  it("refuses two stores of content, and names them", { timeout: 60_000 }, async () => {
    await using directory = await temporaryDirectory("two");
    await using daemon = await start(proxyConfig(directory.path));
    const found = await daemon.ctr(["plugins", "ls", "--detailed", "id==bolt"]);
    expect(found.stdout).toMatch(/Message:\s+.*disabled_plugins/);
    expect(await daemon.log()).toMatch(/io\.containerd\.content\.v1\.content.*io\.containerd\.content\.v1\.bytes/);
  });

  it("loads a sandbox controller, logs an unknown type, and lives with a bad platform", async () => {
    await using daemon = await start(`
[proxy_plugins.boxes]
  type = "sandbox"
  address = "/nonexistent/sandbox.sock"
[proxy_plugins.odd]
  type = "io.containerd.odd.v1"
  address = "/nonexistent/odd.sock"
[proxy_plugins.where]
  type = "io.containerd.differ.v1"
  address = "/nonexistent/diff.sock"
  platform = "no where/at all"
`);
    const found = await plugins(daemon);
    expect(found).toContainEqual(["io.containerd.sandbox.controller.v1", "boxes", expect.any(String), "ok"]);
    expect(found).toContainEqual(["io.containerd.differ.v1", "where", "-", "ok"]);
    expect(found.some(([, id]) => id === "odd")).toBe(false);
    const log = await daemon.log();
    expect(log).toMatch(/unknown proxy plugin type.*odd/);
    expect(log).toMatch(/bad platform.*where/);
  });

  it("does not start with one that has the name of a plugin of its own", async () => {
    const config = '[proxy_plugins.overlayfs]\n  type = "snapshot"\n  address = "/nonexistent/far.sock"';
    await expect(start(config)).rejects.toThrow(/proxy_plugins\.overlayfs/);
  });
});
