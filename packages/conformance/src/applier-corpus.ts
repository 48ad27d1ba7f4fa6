import {
  type CorpusArchive,
  directory,
  end,
  file,
  header,
  joined,
  pax,
  symlink,
  tar,
  typed,
} from "./applier-archives.ts";
import { conflictArchives, kindArchives, whiteoutArchives } from "./applier-corpus-trees.ts";

export type { CorpusArchive } from "./applier-archives.ts";

const names: readonly CorpusArchive[] = [
  { name: "nothing", archive: [], outcome: "ok", tree: [] },
  { name: "names of the root", archive: [directory("."), directory(""), file("x")], outcome: "ok", tree: ["x"] },
  { name: "names that climb", archive: [file("../../up"), file("a/../../b")], outcome: "ok", tree: ["b", "up"] },
  {
    name: "absolute names",
    archive: [file("/abs"), directory("/deep/er")],
    outcome: "ok",
    tree: ["abs", "deep", "deep/er"],
  },
  { name: "dots and slashes", archive: [file("./a//./b/.//c")], outcome: "ok", tree: ["a", "a/b", "a/b/c"] },
  { name: "missing parents", archive: [file("a/b/c", { uid: 5 })], outcome: "ok", tree: ["a", "a/b", "a/b/c"] },
  { name: "a name of 255 bytes", archive: [file("n".repeat(255))], outcome: "ok", tree: ["n".repeat(255)] },
  {
    name: "a long path, and a long link",
    archive: [file(`${"d/".repeat(100)}${"x".repeat(180)}`), symlink("l", "t/".repeat(90))],
    outcome: "ok",
  },
  {
    name: "a path of GNU's long names",
    archive: joined(
      typed("L", { path: "././@LongLink", type: "file", size: 150 }),
      "long/".repeat(30),
      typed("K", { path: "././@LongLink", type: "file", size: 121 }),
      "t".repeat(120) + "\0",
      typed("2", { path: "cut", type: "symlink", linkPath: "cut" }),
      end,
    ),
    outcome: "ok",
  },
  {
    name: "a PAX path and size",
    archive: joined(pax({ path: "päx/ñ", size: "3" }), header({ path: "other", type: "file" }), "abc", end),
    outcome: "ok",
    tree: ["päx", "päx/ñ"],
  },
  {
    name: "a global PAX header",
    archive: joined(pax({ uid: "77" }, "g"), header({ path: "f", type: "file" }), end),
    outcome: "ok",
    tree: ["f"],
  },
  {
    name: "no end marker",
    archive: joined(header({ path: "f", type: "file", size: 3 }), "abc"),
    outcome: "ok",
    tree: ["f"],
  },
  {
    name: "something behind the end marker",
    archive: joined(header({ path: "f", type: "file" }), end, "garbage".repeat(200)),
    outcome: "ok",
    tree: ["f"],
  },
  {
    name: "a header of V7",
    archive: joined(header({ path: "old", type: "file", size: 3 }, { 156: "\0", 257: new Uint8Array(8) }), "abc", end),
    outcome: "ok",
    tree: ["old"],
  },
  {
    name: "a directory of V7",
    archive: joined(header({ path: "old/", type: "file" }, { 156: "\0", 257: new Uint8Array(8) }), end),
    outcome: "ok",
    tree: ["old"],
  },
  {
    name: "numbers in base 256",
    archive: joined(
      header(
        { path: "f", type: "file" },
        { 108: Uint8Array.of(0x80, 0, 0, 0, 0, 3, 0, 1), 124: Uint8Array.of(0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3) },
      ),
      "abc",
      end,
    ),
    outcome: "ok",
    tree: ["f"],
  },
  {
    name: "a contiguous file",
    archive: joined(typed("7", { path: "f", type: "file", size: 3 }), "abc", end),
    outcome: "ok",
    tree: ["f"],
  },
];

const damage: readonly CorpusArchive[] = [
  { name: "no archive at all", archive: new Uint8Array(1024).fill(0x41), outcome: "invalid_argument" },
  {
    name: "a wrong checksum",
    archive: joined(Buffer.from(header({ path: "f", type: "file" })).fill("7", 100, 101), end),
    outcome: "invalid_argument",
  },
  {
    name: "an end in the middle of a file",
    archive: joined(header({ path: "f", type: "file", size: 5000 }), "short"),
    outcome: "data_loss",
  },
  {
    name: "an end in the middle of a header",
    archive: joined(header({ path: "f", type: "file" })).subarray(0, 300),
    outcome: "data_loss",
  },
  {
    name: "a size that is no number",
    archive: joined(header({ path: "f", type: "file" }, { 124: "00000ZZZZZZ\0" }), end),
    outcome: "invalid_argument",
  },
  {
    name: "a PAX record of a wrong length",
    archive: joined(
      typed("x", { path: "p", type: "file", size: 12 }),
      "99 path=abc\n",
      header({ path: "f", type: "file" }),
      end,
    ),
    outcome: "invalid_argument",
  },
  { name: "an owner out of range", archive: [file("f", { uid: 2 ** 32 - 1 })], outcome: "invalid_argument" },
];

/** Every archive of the corpus. */
export const applierCorpus: readonly CorpusArchive[] = [
  ...names,
  ...kindArchives,
  ...conflictArchives,
  ...whiteoutArchives,
  ...damage,
];

/** This returns the bytes of an archive of the corpus. */
export async function archiveBytes(archive: CorpusArchive["archive"]): Promise<Uint8Array> {
  return archive instanceof Uint8Array ? archive : tar(archive);
}
