import { mkdirSync, readdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { formatTarHeader, TAR_END_MARKER, type TarEntryWithContent, writeTar } from "@berth/archive";
import type { Mount } from "@berth/core/mount";
import { createApplier, createLayerEngine } from "@berth/diff";
import { codeName, codeOf } from "@berth/errors";
import { MediaType } from "@berth/oci";
import fc from "fast-check";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";

import { describeTree, LayerFixture } from "./layer-fixture.ts";

const engine = createLayerEngine({ budgets: { tar: { maxEntries: 5000, maxFileBytes: 2 ** 30 } } });
let fixture: LayerFixture;
let outside: Record<string, unknown>;

beforeEach(() => {
  fixture = new LayerFixture();
  const world = fixture.make("outside");
  writeFileSync(join(world, "victim"), "untouched");
  mkdirSync(join(world, "victims"));
  writeFileSync(join(world, "victims/file"), "untouched");
  outside = describeTree(world);
});

afterEach(() => {
  using directory = fixture;
  // Whatever the archive held, nothing outside the root was made, changed or deleted.
  expect(describeTree(join(directory.directory, "outside"))).toEqual(outside);
});

afterAll(() => engine[Symbol.asyncDispose]());

async function apply(entries: readonly TarEntryWithContent[], mount: Mount): Promise<string> {
  const layer = await fixture.addTar(entries);
  return applyLayer(layer, mount);
}

async function applyLayer(layer: Awaited<ReturnType<LayerFixture["addTar"]>>, mount: Mount): Promise<string> {
  return createApplier({ content: fixture.content, syncFs: false, engine })
    .apply(layer, [mount])
    .then(
      () => "ok",
      (error: unknown) => codeName(codeOf(error)),
    );
}

const file = (path: string, rest: Partial<TarEntryWithContent> = {}): TarEntryWithContent => ({
  path,
  type: "file",
  content: Buffer.from("evil"),
  ...rest,
});
const symlink = (path: string, linkPath: string): TarEntryWithContent => ({ path, type: "symlink", linkPath });
const link = (path: string, linkPath: string): TarEntryWithContent => ({ path, type: "link", linkPath });

/** `$` is the directory outside, as the archive sees the host. */
const rows: [string, TarEntryWithContent[], string, string[]][] = [
  ["a name that climbs", [file("../../outside/victim")], "ok", ["outside", "outside/victim"]],
  ["an absolute name", [file("/$/victim")], "ok", ["$", "$/victim"]],
  ["a name that climbs in the middle", [file("a/../../../b/./c//d")], "ok", ["b", "b/c", "b/c/d"]],
  ["a file below an absolute link", [symlink("l", "/$"), file("l/victim")], "ok", ["$", "$/victim", "l"]],
  [
    "a file below a relative link",
    [symlink("l", "../outside"), file("l/victim")],
    "ok",
    ["l", "outside", "outside/victim"],
  ],
  [
    "a link over a link",
    [symlink("a", ".."), symlink("b", "a/../outside"), file("b/victim")],
    "ok",
    ["a", "b", "outside", "outside/victim"],
  ],
  ["a file over a link", [symlink("l", "/$/victim"), file("l")], "ok", ["l"]],
  ["a directory over a link", [symlink("l", "/$"), { path: "l/", type: "directory", mode: 0 }], "ok", ["l"]],
  [
    "attributes through a hard link to a link",
    [symlink("l", "/$/victim"), link("h", "l"), link("h", "l")],
    "ok",
    ["h", "l"],
  ],
  ["a hard link out of the root", [link("h", "../outside/victim")], "invalid_argument", []],
  ["an absolute hard link", [link("h", "/$/victim")], "invalid_argument", []],
  ["a hard link through a link", [symlink("l", "/$"), link("h", "l/victim")], "invalid_argument", ["l"]],
  ["a hard link to a directory", [{ path: "d/", type: "directory" }, link("h", "d")], "permission_denied", ["d"]],
  ["a hard link to the root", [link("h", "/")], "invalid_argument", []],
  ["links in a circle", [symlink("a", "b"), symlink("b", "a"), file("a/file")], "invalid_argument", ["a", "b"]],
  ["a link to itself below itself", [symlink("a", "a/a"), file("a/file")], "invalid_argument", ["a"]],
  ["a file below a file", [file("f"), file("f/g")], "invalid_argument", ["f"]],
  ["a whiteout through a link", [symlink("l", "/$"), file("l/.wh.victim"), file("l/.wh.victims")], "ok", ["l"]],
  ["an opaque mark through a link", [symlink("l", "/$/victims"), file("l/.wh..wh..opq")], "ok", ["l"]],
  ["directory times through a link", [{ path: "d/", type: "directory" }, symlink("d", "/$")], "ok", ["d"]],
  ["a user out of range", [file("f", { uid: 2 ** 32 - 1 })], "invalid_argument", []],
  ["a group out of range", [file("f", { gid: 2 ** 40 })], "invalid_argument", []],
  ["a device out of range", [{ path: "d", type: "char", deviceMajor: 4096 }], "invalid_argument", []],
  ["a minor number out of range", [{ path: "d", type: "block", deviceMinor: 2 ** 20 }], "invalid_argument", []],
  ["a name that is too long", [file("n".repeat(256))], "invalid_argument", []],
  ["an attribute that is no such", [file("f", { xattrs: new Map([["nonsense", Uint8Array.of(1)]]) })], "ok", ["f"]],
];

describe.each(["overlay", "bind"])("hostile archives in %s", (kind) => {
  it.each(rows)("%s", async (_, template, code, expected) => {
    const world = join(fixture.directory, "outside").slice(1);
    const real = (text: string | Uint8Array): string => String(text).replace("$", world);
    const entries = template.map((entry) => ({
      ...entry,
      path: real(entry.path),
      ...(entry.linkPath === undefined ? {} : { linkPath: real(entry.linkPath) }),
    }));
    const mount = kind === "bind" ? fixture.bind("upper") : fixture.overlay("upper");
    expect(await apply(entries, mount)).toBe(code);
    const made = readdirSync(join(fixture.directory, "upper"), { recursive: true, encoding: "utf8" });
    // What is made below a copy of the host's path inside the root counts by its end.
    const paths = made.map((path) =>
      path === world || path.startsWith(`${world}/`) ? `$${path.slice(world.length)}` : path,
    );
    const parents = new Set(world.split("/").map((_part, i, all) => all.slice(0, i).join("/")));
    if (kind === "bind" || !template.some(({ path }) => String(path).includes(".wh."))) {
      const linked = new Set(expected.filter((path) => made.includes(path) && isLink(path)));
      const own = paths.filter((path) => !parents.has(path) && ![...linked].some((one) => path.startsWith(`${one}/`)));
      const implied = template.some(({ path }) => String(path).includes(".wh.")) ? ["$", "$/victims"] : [];
      expect(own.filter((path) => !implied.includes(path)).sort()).toEqual([...expected].sort());
    }
  });
});

function isLink(path: string): boolean {
  try {
    readlinkSync(join(fixture.directory, "upper", path));
    return true;
  } catch {
    return false;
  }
}

describe("hostile archives", () => {
  const component = fc.constantFrom(
    "..",
    ".",
    "",
    "a",
    "b",
    "c",
    "l",
    "outside",
    "victim",
    "victims",
    "file",
    ".wh.a",
    ".wh.victim",
    ".wh..wh..opq",
  );
  const relative = fc.array(component, { minLength: 1, maxLength: 6 }).map((parts) => parts.join("/") || ".");
  const path = fc.oneof(
    relative,
    relative.map((text) => `/${text}`),
    relative.map((text) => `$/${text}`),
  );
  const entry = fc.record({
    path,
    linkPath: path,
    type: fc.constantFrom("file", "link", "symlink", "symlink", "directory", "fifo", "char"),
    mode: fc.nat(0o7777),
  } as const);

  it.each(["overlay", "bind"])("never touch what is outside: %s", async (kind) => {
    await fc.assert(
      fc.asyncProperty(fc.array(entry, { minLength: 1, maxLength: 25 }), async (list) => {
        const world = join(fixture.directory, "outside");
        const real = (text: string): string => text.replace("$", world);
        const name = `upper-${Math.random()}`;
        const mount = kind === "bind" ? fixture.bind(name) : fixture.overlay(name);
        // Links that were there before the layer, as in a tree that is unpacked into twice.
        symlinkSync(world, join(fixture.directory, name, "l"));
        const code = await apply(
          list.map((one) => ({
            ...one,
            path: real(one.path),
            linkPath: real(one.linkPath),
            content: new Uint8Array(0),
          })),
          mount,
        );
        expect(["ok", "invalid_argument", "permission_denied"]).toContain(code);
        expect(describeTree(world)).toEqual(outside);
        expect(readdirSync(fixture.directory).filter((one) => !/^(?:upper|empty|outside|sha256)/.test(one))).toEqual(
          [],
        );
      }),
      { numRuns: 150 },
    );
  });

  it("cost what the budgets allow", async () => {
    const many = Array.from({ length: 5001 }, () => file("same"));
    expect(await apply(many, fixture.bind("upper"))).toBe("resource_exhausted");
    const huge = Buffer.concat([formatTarHeader({ path: "huge", type: "file", size: 2 ** 31 }), Buffer.alloc(512)]);
    expect(await applyLayer(fixture.add(huge, MediaType.ociLayer), fixture.bind("upper"))).toBe("resource_exhausted");
    expect(await apply([file("a/".repeat(1100))], fixture.bind("upper"))).toBe("resource_exhausted");
  });

  it("are refused where a type is unknown or the end is missing", async () => {
    const tar = Buffer.concat(await Array.fromAsync(writeTar([file("f")])));
    expect(await applyLayer(fixture.add(tar.subarray(0, 514), MediaType.ociLayer), fixture.bind("upper"))).toBe(
      "data_loss",
    );
    expect(await applyLayer(fixture.add(tar.subarray(0, 1024), MediaType.ociLayer), fixture.bind("upper"))).toBe("ok");
    const header = Buffer.from(formatTarHeader(file("f")));
    const sum = Number.parseInt(header.toString("latin1", 148, 154), 8) - header.readUInt8(156) + 0x56;
    header.write("V", 156, "latin1");
    header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
    const unknown = Buffer.concat([header, TAR_END_MARKER]);
    expect(await applyLayer(fixture.add(unknown, MediaType.ociLayer), fixture.bind("upper"))).toBe("invalid_argument");
    expect(readFileSync(join(fixture.directory, "upper/f"), "utf8")).toBe("evil");
  });
});
