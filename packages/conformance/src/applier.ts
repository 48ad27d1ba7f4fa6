import { createHash } from "node:crypto";
import { gzipSync, zstdCompressSync } from "node:zlib";

import { codeName, codeOf } from "@berth/errors";
import { formatDigest, MediaType } from "@berth/oci";
import { expect } from "vitest";

import { file, tar } from "./applier-archives.ts";
import { applierCorpus, archiveBytes, type CorpusArchive } from "./applier-corpus.ts";
import type { ApplierSubject, TreeEntry } from "./applier-subject.ts";
import { expectCode } from "./expect-code.ts";
import type { ConformanceCase } from "./run-conformance.ts";

export { applierCorpus, archiveBytes, type CorpusArchive } from "./applier-corpus.ts";
export type { ApplierSubject, TreeEntry } from "./applier-subject.ts";

/** What became of an archive: `ok` or the class of the error, and the tree. */
export interface AppliedArchive {
  readonly outcome: string;
  readonly tree: ReadonlyMap<string, TreeEntry>;
}

/** This applies an archive of the corpus to a new snapshot. */
export async function applyArchive(
  subject: ApplierSubject,
  { lower, archive }: CorpusArchive,
): Promise<AppliedArchive> {
  const below = lower === undefined ? undefined : await subject.store(await tar(lower), MediaType.ociLayer);
  const mounts = await subject.snapshot(below);
  const layer = await subject.store(await archiveBytes(archive), MediaType.ociLayer);
  const outcome = await subject.applier.apply(layer, mounts).then(
    () => "ok",
    (error: unknown) => codeName(codeOf(error)),
  );
  return { outcome, tree: await subject.tree(mounts) };
}

/** Names and links of a tree, as the corpus writes them. */
function shape(tree: ReadonlyMap<string, TreeEntry>): string[] {
  const count = Map.groupBy(tree.values(), ({ linkedTo }) => linkedTo);
  return [...tree]
    .filter(([path]) => path !== "")
    .map(([path, { mode, content, linkedTo }]) => {
      const target = String(mode).startsWith("12") ? ` -> ${String(content)}` : "";
      const isLinked = linkedTo !== undefined && (count.get(linkedTo)?.length ?? 0) > 1;
      return `${path}${target}${isLinked ? ` = ${String(linkedTo)}` : ""}`;
    })
    .sort();
}

function corpusCase(archive: CorpusArchive): ConformanceCase<ApplierSubject> {
  return {
    name: `archive: ${archive.name}`,
    async run(subject) {
      const { outcome, tree } = await applyArchive(subject, archive);
      expect(outcome).toBe(archive.outcome);
      if (archive.tree !== undefined) expect(shape(tree)).toEqual([...archive.tree].sort());
    },
  };
}

const CONTENT = "content ".repeat(100_000);

function typeCase(mediaType: string, pack: (bytes: Uint8Array) => Uint8Array): ConformanceCase<ApplierSubject> {
  return {
    name: `applies ${mediaType}, and answers with what the uncompressed layer is`,
    async run(subject) {
      const bytes = await tar([file("f", { content: Buffer.from(CONTENT) })]);
      const mounts = await subject.snapshot();
      const applied = await subject.applier.apply(await subject.store(pack(bytes), mediaType), mounts);
      const digest = formatDigest("sha256", createHash("sha256").update(bytes).digest("hex"));
      expect(applied).toMatchObject({ mediaType: MediaType.ociLayer, digest, size: bytes.length });
      const content = createHash("sha256").update(CONTENT).digest("hex");
      expect((await subject.tree(mounts)).get("f")?.["content"]).toBe(content);
    },
  };
}

const plain = (bytes: Uint8Array): Uint8Array => bytes;

/** Rules of appliers: media types, and the corpus. */
export const applierCases: readonly ConformanceCase<ApplierSubject>[] = [
  typeCase(MediaType.ociLayer, plain),
  typeCase(MediaType.ociLayerGzip, gzipSync),
  typeCase(MediaType.ociLayerZstd, zstdCompressSync),
  typeCase("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", gzipSync),
  typeCase(MediaType.dockerLayer, plain),
  typeCase(MediaType.dockerLayerGzip, gzipSync),
  typeCase(MediaType.dockerForeignLayerGzip, gzipSync),
  // Names have been wrong too often: the first bytes tell.
  typeCase(MediaType.dockerLayerGzip, plain),
  {
    name: "a media type that nobody knows is unimplemented",
    async run(subject) {
      const layer = await subject.store(await tar([file("f")]), "application/vnd.example.unknown");
      await expectCode(subject.applier.apply(layer, await subject.snapshot()), 12);
    },
  },
  {
    name: "a blob that is not there is not_found",
    async run(subject) {
      const digest = formatDigest("sha256", "0".repeat(64));
      const layer = { mediaType: MediaType.ociLayer, digest, size: 10 };
      await expectCode(subject.applier.apply(layer, await subject.snapshot()), 5);
    },
  },
  {
    name: "a gzip stream that is cut off fails",
    async run(subject) {
      const packed = gzipSync(await tar([file("f", { content: Buffer.from(CONTENT) })]));
      const layer = await subject.store(packed.subarray(0, packed.length - 30), MediaType.ociLayerGzip);
      const mounts = await subject.snapshot();
      await expect(subject.applier.apply(layer, mounts)).rejects.toThrow();
    },
  },
  ...applierCorpus.map(corpusCase),
];
