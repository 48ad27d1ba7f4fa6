import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { BuiltImage, FaultRegistry, PeerDaemon } from "@berth/testing";
import { buildImage, busyboxImage, sha256, startFaultRegistry, temporaryDirectory } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { SideBySide } from "./side-by-side.ts";

const ALICE = `Basic ${Buffer.from("alice:secret").toString("base64")}`;

/** What each line of Go's progress says, without bars and their colours. */
const rowsOf = (text: string): readonly string[] =>
  text
    .replaceAll("\u001b[32m", "")
    .replaceAll("\u001b[0m", "")
    .replaceAll(/\|[+-]+\|/g, "")
    .split("\n")
    .map((line) => line.replaceAll(/\s+/g, " ").trimEnd())
    .filter((line) => line !== "");

describe("Go ctr 2 and a registry, through berthd and through containerd 2", { timeout: 60_000 }, () => {
  const stack = new AsyncDisposableStack();
  let pair: SideBySide;
  let registry: FaultRegistry;
  let image: BuiltImage;
  let directory: string;
  const both = (): readonly PeerDaemon[] => [pair.berthd, pair.containerd];
  const short = (digest: string): string => digest.slice(7, 19);

  beforeAll(async () => {
    directory = stack.use(await temporaryDirectory("go-ctr-2-registry")).path;
    registry = stack.use(await startFaultRegistry());
    pair = stack.use(await SideBySide.start());
    image = await busyboxImage();
    pair.define({ IMAGE: image.name, REGISTRY: registry.host, DIR: directory });
    await mkdir(join(directory, "hosts/example.org"), { recursive: true });
    const hosts = `server = "http://${registry.host}"\n[host."http://${registry.host}"]\n  capabilities = ["pull", "resolve", "push"]\n`;
    await writeFile(join(directory, "hosts/example.org/hosts.toml"), hosts);
  });
  afterAll(() => stack.disposeAsync());

  it.each(["", "--local "])("images push %s: arrives whole", async (flag) => {
    for (const daemon of both()) {
      const name = `REGISTRY/${pair.idOf(daemon)}${flag.trim()}:1`;
      expect(await pair.run(daemon, `images push --plain-http ${flag}${name} IMAGE`)).toMatchObject({
        code: 0,
        stderr: "",
      });
    }
    for (const digest of image.blobs.keys()) expect(sha256(registry.find(digest) ?? Buffer.from(""))).toBe(digest);
  });

  it("images pull, images push: draw what there is, and how far it is, as a tree below the image", async () => {
    const content = Buffer.from("x");
    const fresh = await buildImage({
      name: "x",
      layers: [[{ path: "x", type: "file", size: content.length, content }]],
    });
    for (const [digest, bytes] of fresh.blobs) {
      registry.add(bytes, digest === fresh.manifest.digest ? fresh.manifest.mediaType : undefined);
    }
    registry.tag("fresh", fresh.manifest);
    const [config, layer] = [short(fresh.config.digest), short(fresh.layers[0]?.digest ?? "")];
    const manifest = short(fresh.manifest.digest);
    const name = `${registry.host}/tree:fresh`;

    // The end is not always drawn: ctr ends when its call does, whatever progress is still to come.
    const pull = await pair.run(pair.berthd, `images pull --plain-http ${name}`);
    expect(pull).toMatchObject({ code: 0, stderr: "" });
    for (const row of [
      `^${name} fetching image content$`,
      `^└──manifest \\(${manifest}\\) complete$`,
      `^ [├└]──config \\(${config}\\) complete$`,
      `^ [├└]──layer \\(${layer}\\) (complete|extract)`,
      `^Pulling from OCI Registry \\(${name}\\) elapsed: `,
    ])
      expect(rowsOf(pull.stdout)).toContainEqual(expect.stringMatching(row));

    const push = await pair.run(pair.berthd, `images push --plain-http REGISTRY/tree:again ${name}`);
    expect(push).toMatchObject({ code: 0, stderr: "" });
    for (const row of [
      `^${name} pushing content$`,
      `^└──manifest \\(${manifest}\\) waiting$`,
      `^ [├└]──config \\(${config}\\) already exists$`,
      `^ [├└]──layer \\(${layer}\\) already exists$`,
      `^Pushing to OCI Registry \\(${registry.host}/tree:again\\) elapsed: `,
    ])
      expect(rowsOf(push.stdout)).toContainEqual(expect.stringMatching(row));
    await pair.run(pair.berthd, `images rm --sync ${name}`);
    await pair.same("images ls");
  });

  it.each([
    "--plain-http REGISTRY/tree:1",
    "--plain-http --local REGISTRY/tree:1",
    "--plain-http --platform linux/amd64 --label a=b REGISTRY/tree:1",
    "--plain-http --all-platforms REGISTRY/tree:1",
    "--plain-http --local --all-platforms REGISTRY/tree:1",
    "--hosts-dir DIR/hosts example.org/tree:1",
    "--hosts-dir DIR/hosts --local example.org/tree:1",
    "--plain-http REGISTRY/tree:none",
    "--plain-http --local REGISTRY/tree:none",
    "--plain-http --snapshotter none REGISTRY/tree:1",
    "--plain-http tree:1",
  ])("images pull %s: comes to the same", async (flags) => {
    registry.tag("1", image.manifest);
    const results = await Promise.all(both().map(async (daemon) => await pair.run(daemon, `images pull ${flags}`)));
    const [ours, theirs] = results.map(({ code, stderr }) => ({ code, isNotFound: stderr.includes("not found") }));
    expect(ours).toEqual(theirs);
    await pair.same("images ls");
    await pair.same("images check");
    await pair.same("snapshots ls");
    await pair.same("images rm --sync REGISTRY/tree:1 example.org/tree:1");
  });

  it.each([
    ["images pull --plain-http --user alice:secret REGISTRY/tree:1", 0],
    ["images pull --plain-http --local --user alice:secret REGISTRY/tree:1", 0],
    ["images push --plain-http --user alice:secret REGISTRY/mine:1 IMAGE", 0],
    ["images pull --plain-http --user alice:wrong REGISTRY/tree:1", 1],
    ["images push --plain-http --user alice:wrong REGISTRY/mine:1 IMAGE", 1],
    ["images pull --plain-http REGISTRY/tree:1", 1],
  ])("%s: ends with %i where a password is needed", async (line, code) => {
    registry.fault = ({ headers }) =>
      headers.authorization === ALICE
        ? undefined
        : { kind: "status", status: 401, headers: { "www-authenticate": 'Basic realm="test"' } };
    try {
      for (const daemon of both()) expect(await pair.run(daemon, line)).toMatchObject({ code });
    } finally {
      registry.fault = undefined;
    }
    await pair.same("images ls");
    await pair.same("images rm --sync REGISTRY/tree:1");
  });
});
