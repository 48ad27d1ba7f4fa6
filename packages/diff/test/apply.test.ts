import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";

import { Code, codeName, codeOf } from "@berth/errors";
import type { Applier } from "@berth/core/diff";
import { createApplier, createLayerEngine } from "@berth/diff";
import { lchown, lsetxattr, mkfifo, mknod } from "@berth/linux/files";
import { formatDigest, MediaType } from "@berth/oci";
import { gunzipProgram, seededRandom } from "@berth/testing";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";

import { describeTree, LayerFixture } from "./layer-fixture.ts";

let fixture: LayerFixture;
let applier: Applier;
const engine = createLayerEngine();

beforeEach(() => {
  fixture = new LayerFixture();
  applier = createApplier({ content: fixture.content, engine });
});

afterEach(() => fixture[Symbol.dispose]());
afterAll(() => engine[Symbol.asyncDispose]());

/** One of everything that an image may hold. */
function makeTree(root: string): void {
  mkdirSync(join(root, "usr/bin"), { recursive: true });
  writeFileSync(join(root, "usr/bin/sudo"), "setuid");
  chownSync(join(root, "usr/bin/sudo"), 0, 1234);
  chmodSync(join(root, "usr/bin/sudo"), 0o4755);
  writeFileSync(join(root, "usr/bin/ping"), "capable");
  // cap_net_raw+ep, which holds NUL bytes
  lsetxattr(
    join(root, "usr/bin/ping"),
    "security.capability",
    Buffer.from("0100000200200000000000000000000000000000", "hex"),
  );
  lsetxattr(join(root, "usr/bin/ping"), "user.binary", Uint8Array.of(0, 0x0a, 0xff, 0x3d));
  linkSync(join(root, "usr/bin/ping"), join(root, "usr/bin/ping4"));
  symlinkSync("usr/bin", join(root, "bin"));
  symlinkSync("/nowhere/at/all", join(root, "dangling"));
  lchown(join(root, "dangling"), 70_000, 3_000_000);
  lutimesSync(join(root, "dangling"), 1.5, 1_000_000.125);
  linkSync(join(root, "dangling"), join(root, "dangling2"));
  mkdirSync(join(root, "tmp"));
  chmodSync(join(root, "tmp"), 0o1777);
  lsetxattr(join(root, "tmp"), "user.on-directory", Uint8Array.of(1));
  mkdirSync(join(root, "readonly"));
  writeFileSync(join(root, "readonly/file"), "");
  chmodSync(join(root, "readonly/file"), 0);
  utimesSync(join(root, "readonly"), 1, 1_234_567_890.5);
  chmodSync(join(root, "readonly"), 0o555);
  mknod(join(root, "null"), 0o020666, 1, 3);
  mknod(join(root, "disk"), 0o060640, 259, 70_000);
  mkfifo(join(root, "fifo"), 0o644);
  chmodSync(join(root, "fifo"), 0o606);
  writeFileSync(join(root, Buffer.from("latin-\xe9", "latin1").toString("latin1")), "utf-8");
  writeFileSync(Buffer.concat([Buffer.from(`${root}/`), Buffer.from([0x6c, 0xe9, 0xff])]), "not utf-8");
  writeFileSync(join(root, "sparse"), "start");
  truncateSync(join(root, "sparse"), 5_000_000);
  writeFileSync(join(root, `${"n".repeat(200)}`), "long");
  mkdirSync(join(root, "d/".repeat(60)), { recursive: true });
  writeFileSync(join(root, "d/".repeat(60), "deep"), "x".repeat(3_000_000));
}

function tarOf(root: string): Buffer {
  const flags = ["--format=posix", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-S", "-b", "1"];
  return execFileSync("tar", ["-C", root, ...flags, "-cf", "-", "."], { maxBuffer: 2 ** 28 });
}

describe("Applier", () => {
  it.each([
    ["overlay, plain", "overlay", (tar: Buffer) => tar, MediaType.ociLayer, false],
    ["overlay, gzip", "overlay", (tar: Buffer) => gzipSync(tar), MediaType.ociLayerGzip, false],
    ["bind, zstd", "bind", (tar: Buffer) => zstdCompressSync(tar), MediaType.ociLayerZstd, false],
    ["bind, zstd under a gzip name", "bind", (tar: Buffer) => zstdCompressSync(tar), MediaType.dockerLayerGzip, false],
    ["bind, tar under a gzip name", "bind", (tar: Buffer) => tar, MediaType.dockerLayerGzip, false],
    ["overlay, gzip from another machine", "overlay", (tar: Buffer) => gzipSync(tar), MediaType.ociLayerGzip, true],
  ] as const)("makes the very tree of GNU tar: %s", async (_, kind, pack, mediaType, remote) => {
    const source = fixture.make("source");
    makeTree(source);
    const tar = tarOf(source);
    const expected = fixture.make("expected");
    execFileSync("tar", ["-C", expected, "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", "-"], {
      input: tar,
    });
    fixture.remote = remote;
    const layer = fixture.add(pack(tar), mediaType);
    const applied = await applier.apply(layer, [kind === "bind" ? fixture.bind("upper") : fixture.overlay("upper")]);
    const diffId = `sha256:${createHash("sha256").update(tar).digest("hex")}`;
    expect(applied).toEqual({ mediaType: MediaType.ociLayer, digest: diffId, size: tar.length });
    const tree = describeTree(join(fixture.directory, "upper"));
    expect(tree).toEqual(describeTree(expected));
    expect(tree["usr/bin/ping"]).toMatchObject({ xattrs: { "user.binary": "000aff3d" } });
    expect(tree["usr/bin/sudo"]).toMatchObject({ mode: "104755" });
    expect(tree["readonly"]).toMatchObject({ mtime: "1234567890500000000" });
    expect(
      existsSync(Buffer.concat([Buffer.from(`${fixture.directory}/upper/`), Buffer.from([0x6c, 0xe9, 0xff])])),
    ).toBe(true);
  });

  it("uses a program for gzip where there is one", async () => {
    const programs = fixture.make("programs");
    const mark = join(fixture.directory, "was-used");
    writeFileSync(join(programs, "unpigz"), `#!/bin/sh\n: > ${mark}\nexec /bin/gzip -d -c\n`, { mode: 0o755 });
    const run = async (environment: Record<string, string>, name: string): Promise<unknown> => {
      await using own = createApplier({ content: fixture.content, engine: { environment } });
      const entries = [{ path: name, type: "file", content: Buffer.alloc(3_000_000, name) } as const];
      const tar = await fixture.addTar(entries);
      const bytes = readFileSync(await localPath(tar.digest));
      await own.apply(fixture.add(gzipSync(bytes)), [fixture.bind("upper")]);
      const broken = gzipSync(bytes).fill(0xff, 500, 600);
      return await own
        .apply(fixture.add(broken), [fixture.bind("broken")])
        .catch((error: unknown) => codeName(codeOf(error)));
    };
    expect(await run({ PATH: programs, CONTAINERD_DISABLE_PIGZ: "1" }, "off")).toBe("invalid_argument");
    expect(existsSync(mark)).toBe(false);
    expect(await run({ PATH: programs }, "on")).toBe("invalid_argument");
    expect(existsSync(mark)).toBe(true);
    expect(readFileSync(join(fixture.directory, "upper/on"))).toEqual(Buffer.alloc(3_000_000, "on"));
  });

  it.each(["igzip", "unpigz"] as const)("takes what %s makes of a layer, and its refusal", async (name) => {
    const programs = fixture.make("programs");
    gunzipProgram(programs, name);
    await using own = createApplier({ content: fixture.content, engine: { environment: { PATH: programs } } });
    const content = seededRandom(1).bytes(3_000_000);
    const tar = await fixture.addTar([{ path: "file", type: "file", content }]);
    const bytes = readFileSync(await localPath(tar.digest));
    // Two members, as pigz and others make them.
    const members = [bytes.subarray(0, 1_000_000), bytes.subarray(1_000_000)].map((part) => gzipSync(part));
    const { digest } = await own.apply(fixture.add(Buffer.concat(members)), [fixture.bind("upper")]);
    expect(digest).toBe(tar.digest);
    expect(readFileSync(join(fixture.directory, "upper/file")).equals(content)).toBe(true);
    const broken = gzipSync(bytes).fill(0xff, 500, 600);
    const refused = own.apply(fixture.add(broken), [fixture.bind("broken")]);
    await expect(refused).rejects.toMatchObject({ code: Code.InvalidArgument });
  });

  async function localPath(digest: Parameters<typeof fixture.content.reader>[0]): Promise<string> {
    await using reader = await fixture.content.reader(digest);
    return reader.localPath ?? "";
  }

  it("replaces what is there, merges directories, and skips the root entry", async () => {
    const upper = fixture.bind("upper");
    for (const name of ["file", "becomes-file", "becomes-link"])
      mkdirSync(join(upper.source, name, "x/y"), { recursive: true });
    mkdirSync(join(upper.source, "merged"));
    writeFileSync(join(upper.source, "merged/old"), "old");
    writeFileSync(join(upper.source, "becomes-directory"), "");
    const outside = join(fixture.make("outside"), "victim");
    writeFileSync(outside, "untouched");
    symlinkSync(outside, join(upper.source, "link-becomes-file"));
    const layer = await fixture.addTar([
      { path: "./", type: "directory", mode: 0, uid: 5 },
      { path: "becomes-file", type: "file", content: Buffer.from("new") },
      { path: "becomes-link", type: "symlink", linkPath: "file" },
      { path: "becomes-directory/", type: "directory", mode: 0o700 },
      { path: "merged/", type: "directory", mode: 0o711, uid: 42, mtime: { seconds: 77, nanoseconds: 5 } },
      { path: "merged/new", type: "file" },
      { path: "link-becomes-file", type: "file", content: Buffer.from("mine") },
      { path: "hard", type: "link", linkPath: "/merged/../merged/old" },
      { path: "twice", type: "file", content: Buffer.from("first, and longer") },
      { path: "twice", type: "file", content: Buffer.from("second") },
    ]);
    await applier.apply(layer, [upper]);
    const tree = describeTree(upper.source);
    expect(Object.keys(tree)).toEqual(
      [
        "becomes-directory",
        "becomes-file",
        "becomes-link",
        "file",
        "file/x",
        "file/x/y",
        "hard",
        "link-becomes-file",
      ].concat(["merged", "merged/new", "merged/old", "twice"]),
    );
    expect(tree["merged"]).toMatchObject({ mode: "40711", owner: "42:0", mtime: "77000000005" });
    expect(tree["merged/old"]).toMatchObject({ sameAs: "hard" });
    expect(readFileSync(join(upper.source, "twice"), "utf8")).toBe("second");
    expect(readFileSync(outside, "utf8")).toBe("untouched");
  });

  it("gives missing parents the attributes of the layers below", async () => {
    const near = fixture.make("near");
    const far = fixture.make("far");
    mkdirSync(join(far, "a/b/c"), { recursive: true });
    mkdirSync(join(near, "a"));
    chownSync(join(near, "a"), 11, 12);
    chmodSync(join(near, "a"), 0o2750);
    lsetxattr(join(near, "a"), "trusted.overlay.origin", Uint8Array.of(1));
    lsetxattr(join(near, "a"), "user.kept", Uint8Array.of(2));
    chownSync(join(far, "a/b"), 21, 22);
    utimesSync(join(far, "a/b"), 100, 200);
    const layer = await fixture.addTar([{ path: "a/b/new/file", type: "file" }]);
    await applier.apply(layer, [fixture.overlay("upper", "near", "far")]);
    const tree = describeTree(join(fixture.directory, "upper"));
    expect(tree["a"]).toMatchObject({ owner: "11:12", mode: "42750", xattrs: { "user.kept": "02" } });
    expect(Object.keys((tree["a"] as { xattrs: object }).xattrs)).toEqual(["user.kept"]); // as described above
    expect(tree["a/b"]).toMatchObject({ owner: "21:22", mode: "40755", mtime: "200000000000" });
    expect(tree["a/b/new"]).toMatchObject({ owner: "0:0", mode: "40755" });
  });

  it("skips trusted attributes", async () => {
    const xattrs = new Map(
      ["trusted.overlay.opaque", "trusted.x", "user.overlay.opaque", "user.fine"].map((key) => [
        key,
        Uint8Array.of(0x79),
      ]),
    );
    await applier.apply(await fixture.addTar([{ path: "d/", type: "directory", xattrs }]), [fixture.overlay("upper")]);
    expect(describeTree(join(fixture.directory, "upper"))["d"]).toMatchObject({ xattrs: { "user.fine": "79" } });
    expect(
      Object.keys((describeTree(join(fixture.directory, "upper"))["d"] as { xattrs: object }).xattrs),
    ).toHaveLength(1); // as described
  });

  it("answers with the class of what is wrong", async () => {
    const tar = gzipSync(Buffer.alloc(10_240));
    const mounts = [fixture.bind("upper")];
    const code = async (layer: ReturnType<LayerFixture["add"]>): Promise<string> =>
      applier.apply(layer, mounts).then(
        () => "ok",
        (error: unknown) => codeName(codeOf(error)),
      );
    expect(await code(fixture.add(tar, "application/vnd.oci.image.layer.v1.tar+encrypted"))).toBe("unimplemented");
    expect(await code(fixture.add(gzipSync(Buffer.alloc(700, 1))))).toBe("invalid_argument");
    expect(await code(fixture.add(tar.subarray(0, 20)))).toBe("data_loss");
    expect(await code(fixture.add(tar))).toBe("ok");
    const digest = formatDigest("sha256", "0".repeat(64));
    expect(await code({ mediaType: MediaType.ociLayer, digest, size: 1 })).toBe("not_found");
  });
});
