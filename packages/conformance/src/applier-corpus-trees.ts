import type { CorpusArchive } from "./applier-archives.ts";
import { directory, empty, end, file, joined, link, symlink, typed } from "./applier-archives.ts";

const capability = Uint8Array.of(1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
const LOWER = [
  directory("dir"),
  file("dir/a"),
  file("dir/b"),
  directory("dir/sub"),
  file("dir/sub/c"),
  file("file"),
  symlink("soft", "dir"),
];
const LOWER_TREE = ["dir", "dir/a", "dir/b", "dir/sub", "dir/sub/c", "file", "soft -> dir"];
const without = (...gone: readonly string[]): string[] =>
  LOWER_TREE.filter(
    (line) => !gone.some((name) => line === name || line.startsWith(`${name}/`) || line.startsWith(`${name} `)),
  );

/** Kinds of files, and all that they have. */
export const kindArchives: readonly CorpusArchive[] = [
  {
    name: "one of each kind, with owner, mode and time",
    archive: [
      directory("d", { mode: 0o1777, uid: 70_000, gid: 3 }),
      file("d/setuid", { mode: 0o6711, uid: 1, gid: 2, mtime: { seconds: 1, nanoseconds: 999_999_999 } }),
      file("d/none", { mode: 0 }),
      symlink("d/soft", "../../outside"),
      {
        // As tar writes it: with what the file has.
        ...link("d/hard", "d/setuid"),
        mode: 0o6711,
        uid: 1,
        gid: 2,
        mtime: { seconds: 1, nanoseconds: 999_999_999 },
      },
      { path: "d/fifo", type: "fifo", mode: 0o640, uid: 9 },
      { path: "d/char", type: "char", deviceMajor: 1, deviceMinor: 3, mode: 0o666 },
      { path: "d/block", type: "block", deviceMajor: 4095, deviceMinor: 70_000, mode: 0o660, gid: 6 },
    ],
    outcome: "ok",
    tree: [
      "d",
      "d/block",
      "d/char",
      "d/fifo",
      "d/hard = d/hard",
      "d/none",
      "d/setuid = d/hard",
      "d/soft -> ../../outside",
    ],
  },
  {
    name: "extended attributes, byte by byte",
    archive: [
      file("f", {
        xattrs: new Map([
          ["security.capability", capability],
          ["user.binary", Uint8Array.of(0, 10, 61, 255)],
          ["user.empty", new Uint8Array()],
        ]),
      }),
      directory("d", { xattrs: new Map([["user.on-directory", Uint8Array.of(1)]]) }),
    ],
    outcome: "ok",
    tree: ["d", "f"],
  },
  {
    name: "attributes that a layer must not set",
    archive: [
      file("f", {
        xattrs: new Map([
          ["trusted.note", Uint8Array.of(1)],
          ["trusted.overlay.opaque", Uint8Array.of(0x79)],
        ]),
      }),
    ],
    outcome: "ok",
    tree: ["f"],
  },
  {
    name: "user attributes on what cannot have them",
    archive: [{ ...symlink("l", "x"), xattrs: new Map([["user.note", Uint8Array.of(1)]]) }],
    outcome: "ok",
    tree: ["l -> x"],
  },
  {
    name: "attributes with a file that was only written for it",
    archive: [file("f", { mode: 0o444, xattrs: new Map([["user.a", Uint8Array.of(1)]]) })],
    outcome: "ok",
    tree: ["f"],
  },
  {
    name: "times before 1970 and far in the future",
    archive: [
      file("old", { mtime: { seconds: -5, nanoseconds: 500_000_000 } }),
      file("new", { mtime: { seconds: 2 ** 33, nanoseconds: 1 } }),
    ],
    outcome: "ok",
    tree: ["new", "old"],
  },
  {
    name: "a hard link to a symbolic link",
    archive: [symlink("l", "nowhere"), link("h", "l")],
    outcome: "ok",
    tree: ["h -> nowhere = h", "l -> nowhere = h"],
  },
  {
    name: "an unknown type",
    archive: joined(typed("Z", { path: "f", type: "file" }), end),
    outcome: "invalid_argument",
  },
];

/** Entries that stand in each other's way. */
export const conflictArchives: readonly CorpusArchive[] = [
  {
    name: "a file twice",
    archive: [file("f", { mode: 0o777 }), file("f", { content: new Uint8Array(3) })],
    outcome: "ok",
    tree: ["f"],
  },
  {
    name: "a directory twice: the last attributes count",
    archive: [directory("d"), file("d/f"), directory("d", { mode: 0o700, uid: 4 })],
    outcome: "ok",
    tree: ["d", "d/f"],
  },
  {
    name: "a directory over a file, and back",
    archive: [file("x"), directory("x"), file("x/y"), file("x")],
    outcome: "ok",
    tree: ["x"],
  },
  {
    name: "a file over a directory of the layer below",
    lower: LOWER,
    archive: [file("dir")],
    outcome: "ok",
    tree: ["dir", ...without("dir")],
  },
  {
    name: "a directory over a link of the layer below",
    lower: LOWER,
    archive: [directory("soft"), file("soft/x")],
    outcome: "ok",
    tree: [...without("soft"), "soft", "soft/x"],
  },
  { name: "a link to itself", archive: [file("f"), link("f", "f")], outcome: "ok", tree: ["f"] },
  { name: "a hard link to nothing", archive: [link("h", "nothing")], outcome: "invalid_argument" },
  {
    name: "a hard link out of the root",
    archive: [link("h", "../../../../../../etc/passwd")],
    outcome: "invalid_argument",
  },
  {
    name: "links in a circle",
    archive: [symlink("a", "b"), symlink("b", "a"), file("a/f")],
    outcome: "invalid_argument",
  },
  { name: "a file below a file", archive: [file("f"), file("f/g")], outcome: "invalid_argument" },
  {
    name: "a file through a link that leads out",
    archive: [symlink("l", "/../../new"), file("l/f")],
    outcome: "ok",
    tree: ["l -> /../../new", "new", "new/f"],
  },
];

/** Deletions. */
export const whiteoutArchives: readonly CorpusArchive[] = [
  { name: "a whiteout of a file", lower: LOWER, archive: [empty(".wh.file")], outcome: "ok", tree: without("file") },
  { name: "a whiteout of a directory", lower: LOWER, archive: [empty(".wh.dir")], outcome: "ok", tree: without("dir") },
  {
    name: "a whiteout of a link, which is not followed",
    lower: LOWER,
    archive: [empty(".wh.soft")],
    outcome: "ok",
    tree: without("soft"),
  },
  { name: "a whiteout through a link", lower: LOWER, archive: [empty("soft/.wh.a")], outcome: "ok" },
  { name: "a whiteout of nothing", lower: LOWER, archive: [empty("dir/.wh.none")], outcome: "ok", tree: LOWER_TREE },
  {
    name: "an opaque directory",
    lower: LOWER,
    archive: [directory("dir"), empty("dir/.wh..wh..opq"), file("dir/new")],
    outcome: "ok",
    tree: ["dir", "dir/new", ...without("dir")],
  },
  {
    name: "an opaque mark behind what it must not hide",
    lower: LOWER,
    archive: [directory("dir"), file("dir/new"), empty("dir/.wh..wh..opq")],
    outcome: "ok",
    tree: ["dir", "dir/new", ...without("dir")],
  },
  {
    name: "a directory made again after its whiteout",
    lower: LOWER,
    archive: [empty(".wh.dir"), directory("dir"), file("dir/new")],
    outcome: "ok",
    tree: ["dir", "dir/new", ...without("dir")],
  },
  {
    name: "a whiteout with two prefixes",
    lower: [file(".wh.x".slice(4)), file("y")],
    archive: [empty(".wh..wh.y")],
    outcome: "ok",
  },
  {
    name: "a whiteout of the directory itself",
    archive: [directory("d"), empty("d/.wh.")],
    outcome: "invalid_argument",
  },
  {
    name: "a whiteout of the directory above",
    archive: [directory("d"), empty("d/.wh..")],
    outcome: "invalid_argument",
  },
  { name: "a whiteout of two above", archive: [directory("d"), empty("d/.wh...")], outcome: "invalid_argument" },
];
