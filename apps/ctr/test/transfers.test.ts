import { readFile, stat, writeFile } from "node:fs/promises";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

import { readTar, writeTar } from "@berth/archive";
import { hostPlatform, MediaType } from "@berth/oci";
import type { PeerRegistry } from "@berth/testing";
import { buildImage, runProgram, sha256, startRegistry } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { Bench } from "./peers.ts";
import { BUSYBOX_IMAGE, startBench } from "./peers.ts";

const TIMEOUT = { timeout: 60_000 };
const LIMIT = { timeoutMs: 60_000 };
const DIGEST_NAME = /^import-\d{4}-\d\d-\d\d@sha256:[0-9a-f]{64}$/;

// The daemon's own transfers, and what this program does instead: both must do the same.
describe.each([
  ["in the daemon", []],
  ["by ctr", ["--local"]],
] as const)("images moved %s", (_where, local) => {
  const stack = new AsyncDisposableStack();
  let bench: Bench;
  let registry: PeerRegistry;
  let namespaces = 0;

  const place = (name: string): string => join(bench.directory.path, name);
  const say = (...args: readonly string[]): Promise<string> => bench.say(...args);
  const fail = (...args: readonly string[]): Promise<string> => bench.fail(...args);
  const names = async (namespace: string): Promise<readonly string[]> =>
    (await say("-n", namespace, "images", "ls", "-q")).trim().split("\n");

  beforeAll(async () => {
    bench = stack.use(await startBench("berthd"));
    registry = stack.use(await startRegistry());
  }, 60_000);

  afterAll(() => stack.disposeAsync());

  it.each<readonly [flags: readonly string[], expected: readonly RegExp[]]>([
    [[], [/^example\.org\/berth\/busybox:1$/]],
    // The daemon names the archive's index by its digest too.
    [["--digests"], [/^example\.org\/berth\/busybox:1$/, DIGEST_NAME, ...(local.length > 0 ? [] : [DIGEST_NAME])]],
    [
      ["--digests", "--skip-digest-for-named"],
      [/^example\.org\/berth\/busybox:1$/, ...(local.length > 0 ? [] : [DIGEST_NAME])],
    ],
    [
      ["--index-name", "example.org/index:1"],
      [/^example\.org\/berth\/busybox:1$/, /^example\.org\/index:1$/],
    ],
    [["--base-name", "example.org/berth/busybox"], [/^example\.org\/berth\/busybox:1$/]],
    [["--all-platforms", "--no-unpack"], [/^example\.org\/berth\/busybox:1$/]],
    [
      ["--base-name", "example.org/other", "--digests"],
      // Names that the archive calls full are taken whatever the prefix, by the client only, as in containerd.
      [
        local.length > 0 ? /^example\.org\/berth\/busybox:1$/ : /^example\.org\/other@sha256:[0-9a-f]{64}$/,
        /^example\.org\/other@sha256:[0-9a-f]{64}$/,
      ],
    ],
  ])("are imported with %j", TIMEOUT, async (flags, expected) => {
    const namespace = `import-${(namespaces += 1)}`;
    await say("-n", namespace, "images", "import", ...local, ...flags, "--label", "a=b", bench.archive);
    const found = await names(namespace);
    expect(found).toHaveLength(expected.length);
    for (const [index, name] of found.toSorted().entries()) expect(name).toMatch(expected[index] ?? /^$/);
    expect(await say("-n", namespace, "images", "ls")).toContain("a=b");
    const check = await say("-n", namespace, "images", "check", `name==${found[0]}`);
    expect(check).toMatch(flags.includes("--no-unpack") ? /complete \(2\/2\).* false/ : /complete \(2\/2\).* true/);
    expect(await say("-n", namespace, "leases", "ls", "-q")).toBe("");
  });

  it("are imported from a pipe, and not from what is no archive", TIMEOUT, async () => {
    const namespace = `import-${(namespaces += 1)}`;
    const shell = async (script: string): Promise<number | undefined> => {
      const command = bench.command(["-n", namespace, "images", "import", ...local, "-"]);
      return (await runProgram("sh", ["-c", script, "sh", ...command], LIMIT)).code;
    };
    expect(await shell(`cat ${bench.archive} | "$@"`)).toBe(0);
    expect(await names(namespace)).toEqual([BUSYBOX_IMAGE]);
    // A writer that goes on for ever must not keep a failed import.
    const [program, ...args] = bench.command(["-n", namespace, "images", "import", ...local, "-"]);
    const child = spawn(program, args, { stdio: ["pipe", "ignore", "ignore"] });
    child.stdin.on("error", () => {});
    child.stdin.write(Buffer.alloc(100_000, "no archive"));
    expect(await once(child, "exit")).toEqual([1, null]);
    expect(await shell(`head -c 200000 ${bench.archive} | "$@"`)).toBe(1);
    expect(await say("-n", namespace, "content", "active")).toMatch(/^REF\s+SIZE\s+AGE\s*\n$/);
    const bad = place("bad.tar");
    await writeFile(bad, "no tar");
    await fail("images", "import", ...local, bad);
    await fail("images", "import", ...local, "--platform", "plan9/386", bench.archive);
  });

  it("are imported when they are artifacts too, and not unpacked", TIMEOUT, async () => {
    const [namespace, name] = [`import-${(namespaces += 1)}`, "example.org/charts/a:1"];
    const files: { path: string; type: "file"; size: number; content: Uint8Array }[] = [];
    const add = (path: string, value: unknown): void => {
      const content = new TextEncoder().encode(JSON.stringify(value));
      files.push({ path, type: "file", size: content.length, content });
    };
    const blob = (mediaType: string, value: unknown) => {
      const bytes = new TextEncoder().encode(JSON.stringify(value));
      add(`blobs/${sha256(bytes).replace(":", "/")}`, value);
      return { mediaType, digest: sha256(bytes), size: bytes.length };
    };
    const config = blob("application/vnd.chart.config.v1+json", { name: "chart" });
    const layers = [blob("application/vnd.chart.content.v1.tar+gzip", "no archive")];
    const manifest = blob(MediaType.ociManifest, { schemaVersion: 2, config, layers });
    add("oci-layout", { imageLayoutVersion: "1.0.0" });
    const annotations = { "io.containerd.image.name": name };
    add("index.json", { schemaVersion: 2, manifests: [{ ...manifest, annotations }] });
    const archive = place("artifact.tar");
    await writeFile(archive, Buffer.concat(await Array.fromAsync(writeTar(files))));
    await say("-n", namespace, "images", "import", ...local, archive);
    expect(await names(namespace)).toEqual([name]);
    expect(await say("-n", namespace, "snapshots", "ls")).not.toContain("sha256:");
  });

  it("are exported for their platform, with and without Docker's manifest", TIMEOUT, async () => {
    const out = place("out.tar");
    const entries = async (...flags: readonly string[]): Promise<readonly string[]> => {
      await say("images", "export", ...local, ...flags, out, BUSYBOX_IMAGE);
      return Array.fromAsync(readTar([await readFile(out)]), ({ header }) => header.path);
    };
    const { os, architecture } = hostPlatform();
    const all = await entries();
    expect(all).toContain("manifest.json");
    expect(await entries("--platform", `${os}/${architecture}`)).toEqual(all);
    expect(await entries("--all-platforms")).toEqual(all);
    expect(await entries("--skip-manifest-json", "--skip-non-distributable")).toEqual(
      all.filter((path) => path !== "manifest.json"),
    );
    const before = (await stat(out)).mtimeMs;
    await fail("images", "export", ...local, "--platform", "plan9/386", "--all-platforms", out, BUSYBOX_IMAGE);
    await fail("images", "export", ...local, place("none/out.tar"), BUSYBOX_IMAGE);
    await fail("images", "export", ...local, out, "example.org/none:1");
    expect((await stat(out)).mtimeMs).toBe(before);
    // Whose reader leaves early.
    const command = bench.command(["images", "export", ...local, "-", BUSYBOX_IMAGE]);
    const { stdout } = await runProgram(
      "bash",
      ["-c", `"$@" | head -c 5 >/dev/null; echo \${PIPESTATUS[0]}`, "sh", ...command],
      LIMIT,
    );
    expect(stdout).toMatch(/^(0|141)\n$/);
  });

  it("are pushed, for their platform", TIMEOUT, async () => {
    const name = `${registry.host}/moved/${local.length}:1`;
    const { os, architecture } = hostPlatform();
    const flags = ["--platform", `${os}/${architecture}`, "--plain-http"];
    expect(await say("images", "push", ...local, ...flags, name, BUSYBOX_IMAGE)).toMatch(
      /^(sha256:[0-9a-f]{64} done\n){3}elapsed: /,
    );
    expect(await say("images", "push", ...local, name, BUSYBOX_IMAGE)).toMatch(/^(sha256:[0-9a-f]{64} exists\n){3}/);
    await fail("images", "push", ...local, "example.org", BUSYBOX_IMAGE);
    await fail("images", "push", ...local, `${registry.host}/moved:1`, "example.org/none:1");
    await fail("images", "push", ...local, "127.0.0.1:1/moved:1", BUSYBOX_IMAGE);
  });

  it("have their layers compressed by the daemon alone", TIMEOUT, async () => {
    const image = await buildImage({
      name: "example.org/plain:1",
      layers: [[{ path: "file", type: "file", size: 4, content: Buffer.from("text") }]],
      compression: "none",
    });
    const archive = place("plain.tar");
    const [layer] = image.layers;
    const file = (path: string, content: Uint8Array) => ({
      path,
      type: "file" as const,
      size: content.length,
      content,
    });
    const manifest = [{ Config: "config.json", RepoTags: [image.name], Layers: ["layer.tar"] }];
    const entries = [
      file("config.json", image.blobs.get(image.config.digest) ?? Buffer.of()),
      file("layer.tar", image.blobs.get(layer?.digest ?? image.config.digest) ?? Buffer.of()),
      file("manifest.json", Buffer.from(JSON.stringify(manifest))),
    ];
    await writeFile(archive, Buffer.concat(await Array.fromAsync(writeTar(entries))));
    if (local.length > 0) {
      expect(await fail("images", "import", ...local, "--compress-blobs", archive)).toMatch(/--local/);
      return;
    }
    await say("-n", "compressed", "images", "import", "--compress-blobs", archive);
    expect(await say("-n", "compressed", "images", "inspect", image.name)).toMatch(/tar[+.]gzip @/);
    expect(await say("-n", "compressed", "images", "check")).toMatch(/complete \(2\/2\).* true/);
  });

  it("are shown by bars on a terminal", TIMEOUT, async () => {
    const bytes = Buffer.alloc(24 << 20, "a");
    for (let at = 0; at < bytes.length; at += 64)
      bytes.writeUInt32LE((Math.imul(at, 2_654_435_761) ^ (at >>> 3)) >>> 0, at);
    const image = await buildImage({
      name: "example.org/large:1",
      layers: [[{ path: "large", type: "file", size: bytes.length, content: bytes }]],
      compression: "none",
    });
    const archive = place("large.tar");
    await writeFile(archive, image.archive);
    const screen = await onTerminal(bench.command(["images", "import", ...local, "--no-unpack", archive]));
    expect(screen).toMatch(/importing \|\++-*\| [\d.]+ MiB\/24\.\d MiB/);
    const name = `${registry.host}/moved/large${local.length}:1`;
    const pushed = await onTerminal(bench.command(["images", "push", ...local, "--plain-http", name, image.name]));
    expect(pushed).toMatch(/(layer|config)-sha256:[0-9a-f]{12} (uploading|done) +\|\+*-*\| [\d.]+ \w+\/[\d.]+ \w+/);
    // What stays is plain.
    expect(pushed).toMatch(/sha256:[0-9a-f]{64} done\r?\nelapsed: [^\n]*\n$/);
  });
});

/** What a command writes to a terminal of 120 columns. */
async function onTerminal(command: readonly string[]): Promise<string> {
  const line = ["stty cols 120 rows 30; exec", ...command.map((word) => `'${word}'`)].join(" ");
  const { code, stdout } = await runProgram("script", ["-qec", line, "/dev/null"], LIMIT);
  expect({ code, stdout: code === 0 ? "" : stdout }).toEqual({ code: 0, stdout: "" });
  return stdout;
}
