import type { PeerRegistry } from "@berth/testing";
import { busyboxImage, startFaultRegistry, startRegistry } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { Bench } from "./peers.ts";
import { BUSYBOX_IMAGE, startBench } from "./peers.ts";

const TIMEOUT = { timeoutMs: 60_000 };

describe.each(["berthd", "containerd"] as const)("images of a registry, on %s", (kind) => {
  const stack = new AsyncDisposableStack();
  let bench: Bench;
  let registry: PeerRegistry;

  beforeAll(async () => {
    bench = stack.use(await startBench(kind));
    registry = stack.use(await startRegistry());
  }, 60_000);

  afterAll(() => stack.disposeAsync());

  /** The output of a command that must succeed. */
  const say = (...args: readonly string[]): Promise<string> => bench.say(...args);
  const fail = async (...args: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await bench.ctr(args, TIMEOUT);
    expect({ args, code, stdout }).toMatchObject({ args, code: 1 });
    expect(stderr.trimEnd().split("\n")).toHaveLength(1);
    return stderr;
  };

  it("are pushed, pulled and run", { timeout: 120_000 }, async () => {
    const name = `${registry.host}/team/busybox:1`;
    expect(await say("images", "push", "--plain-http", name, BUSYBOX_IMAGE)).toMatch(
      /^(sha256:[0-9a-f]{64} done\n){3}elapsed: /,
    );
    expect(await say("images", "push", "--plain-http", name, BUSYBOX_IMAGE)).toMatch(
      /^(sha256:[0-9a-f]{64} exists\n){3}elapsed: /,
    );
    await say("images", "rm", "--sync", BUSYBOX_IMAGE);
    expect(await say("content", "ls", "-q")).toBe("");
    const pulled = await say("images", "pull", "--print-chainid", "--label", "from=test", name);
    expect(pulled).toMatch(
      /resolved: sha256:[0-9a-f]{64}\n(sha256:[0-9a-f]{64} done\n){3}elapsed: .*\nunpacked linux\/\w+ sha256:/,
    );
    expect(pulled).toMatch(/image chain ID: sha256:[0-9a-f]{64}\n$/);
    expect(await say("images", "ls")).toMatch(new RegExp(`^${name} .* from=test`, "m"));
    expect(await say("content", "ls")).toContain("containerd.io/distribution.source.127.0.0.1=team/busybox");
    expect(await say("run", "--rm", name, `pulled-${kind}`, "echo", "from a registry")).toBe("from a registry\n");
    expect(await say("images", "pull", name)).toMatch(/(sha256:[0-9a-f]{64} exists\n){3}/);
    expect(await say("images", "check", `name==${name}`)).toMatch(/complete \(2\/2\).* true/);
  });

  it("that Go's ctr has pushed are pulled by ours, and the other way round", { timeout: 120_000 }, async () => {
    await say("images", "import", bench.archive);
    const theirs = `${registry.host}/theirs:1`;
    const ours = `${registry.host}/ours:1`;
    expect(await bench.daemon.ctr(["image", "push", "--plain-http", theirs, BUSYBOX_IMAGE], TIMEOUT)).toMatchObject({
      code: 0,
    });
    await say("images", "push", ours, BUSYBOX_IMAGE);
    await say("images", "rm", "--sync", BUSYBOX_IMAGE);
    await say("images", "pull", theirs);
    expect(await bench.daemon.ctr(["image", "pull", "--plain-http", ours], TIMEOUT)).toMatchObject({ code: 0 });
    for (const name of [theirs, ours]) {
      expect(await say("images", "check", `name==${name}`)).toMatch(/complete \(2\/2\).* true/);
    }
  });

  it.each([["in the daemon, if it can"], ["--local"]])("are pulled with a name and a password: %s", async (where) => {
    await using guarded = await startFaultRegistry();
    const { blobs, config, layers, manifest } = await busyboxImage();
    for (const { digest, mediaType } of [config, ...layers])
      guarded.add(blobs.get(digest) ?? new Uint8Array(), mediaType);
    guarded.tag("1", guarded.add(blobs.get(manifest.digest) ?? new Uint8Array(), manifest.mediaType));
    const right = `Basic ${Buffer.from("me:word").toString("base64")}`;
    guarded.fault = ({ headers }) =>
      headers.authorization === right
        ? undefined
        : { kind: "status", status: 401, headers: { "www-authenticate": 'Basic realm="test"' } };
    const name = `${guarded.host}/team/guarded:1`;
    const flags = where === "--local" ? [where] : [];
    expect(await fail("images", "pull", ...flags, "--user", "me:other", name)).toMatch(/refuses the user/);
    expect(await say("images", "pull", ...flags, "--user", "me:word", name)).toContain("unpacked");
    await say("images", "rm", "--sync", name);
  });

  it.each([
    ["an unknown tag", (host: string) => ["images", "pull", `${host}/team/none:1`], /answered 404/],
    ["a short name", () => ["images", "pull", "alpine"], /host and path are required/],
    ["no server", () => ["images", "pull", "127.0.0.1:1/x:1"], /ECONNREFUSED/],
    ["an unknown image", (host: string) => ["images", "push", `${host}/none:1`], /none:1/],
    [
      "a certificate without its key",
      (host: string) => ["images", "pull", "--tlscert", "x", `${host}/x:1`],
      /--tlskey/,
    ],
  ])("say in one line what is wrong with %s", async (_name, args, message) => {
    expect(await fail(...args(registry.host))).toMatch(message);
  });
});
