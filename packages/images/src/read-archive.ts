import { posix } from "node:path";

import type { TarBudgets, TarEntry } from "@berth/archive";
import { decompress, readTar } from "@berth/archive";
import type { CallOptions } from "@berth/core/any";
import type { ContentStore, ContentWriter } from "@berth/core/content";
import { readBytes } from "@berth/core/read-bytes";
import { invalidArgument } from "@berth/errors";
import type { Descriptor, Digest } from "@berth/oci";
import { isDigest, MediaType } from "@berth/oci";

import { MAX_JSON_BYTES } from "./image-children.ts";
import { ingestBlob, ingestPrefix } from "./ingest-blob.ts";

/** A file of the archive that is now in the content store. */
export interface StoredFile {
  readonly digest: Digest;
  readonly size: number;
}

/** What an archive held. */
export interface ArchiveContents {
  /** Regular files, links included, by their name in the archive. */
  readonly files: ReadonlyMap<string, StoredFile>;
  /** Text of `oci-layout` and `manifest.json`, which are not stored. */
  readonly layout: Uint8Array | undefined;
  readonly dockerManifest: Uint8Array | undefined;
}

/** Who wants to know of an archive's files while it is read. */
export interface ArchiveWatcher {
  /** Called for a blob that has its digest for a name, when its bytes begin to come; not for one that is there already. */
  readonly onWriter?: ((blob: StoredFile, writer: ContentWriter) => void) | undefined;
  /** Called with the count of bytes that are there of such a blob. */
  readonly onProgress?: ((blob: StoredFile, offset: number) => void) | undefined;
  /** Called for each file when it is stored. */
  readonly onBlob?: ((digest: Digest) => void) | undefined;
  /** Called once, when the index of an OCI layout is stored, whatever it holds. */
  readonly onIndex?: ((index: Descriptor) => Promise<void>) | undefined;
}

/** Options of {@link readArchive}. */
export interface ReadArchiveOptions extends CallOptions, ArchiveWatcher {
  readonly content: ContentStore;
  readonly budgets?: Partial<TarBudgets>;
  /** Called with each chunk of an archive that is not compressed when nothing more is done with it. */
  readonly release?: ((chunk: Uint8Array) => void) | undefined;
}

/** An image has dozens of files, not millions; each costs a commit. */
const MAX_ENTRIES = 100_000;
const LAYOUT = "oci-layout";
const DOCKER_MANIFEST = "manifest.json";
const INDEX = "index.json";

/**
 * This streams every file of an image archive, compressed or not, into the content store. Names are only names here:
 * nothing is opened by them.
 *
 * @throws invalid_argument - a name that is absolute or leads out of the archive, a link without target, the same name with
 *   other bytes, or a malformed archive
 * @throws failed_precondition - the bytes of `blobs/<algorithm>/<hex>` have another digest
 * @throws resource_exhausted, data_loss - a budget is exceeded; the archive is cut off
 */
export async function readArchive(
  source: AsyncIterable<Uint8Array>,
  options: ReadArchiveOptions,
): Promise<ArchiveContents> {
  const reading = new ArchiveReading(options);
  const budgets = { maxEntries: MAX_ENTRIES, ...options.budgets };
  for await (const entry of readTar(decompress(source, { release: options.release }), budgets)) {
    options.signal?.throwIfAborted();
    await reading.take(entry);
  }
  return reading.finish();
}

class ArchiveReading {
  readonly #options: ReadArchiveOptions;
  readonly #files = new Map<string, StoredFile>();
  readonly #links = new Map<string, string>();
  readonly #documents = new Map<string, Uint8Array>();
  readonly #prefix = ingestPrefix();

  constructor(options: ReadArchiveOptions) {
    this.#options = options;
  }

  async take({ header, content }: TarEntry): Promise<void> {
    if (header.type === "directory" || header.type === "other") return;
    const name = memberName(header.path);
    if (header.type === "symlink") this.#links.set(name, memberName(posix.join(posix.dirname(name), header.linkPath)));
    else if (header.type === "link") this.#links.set(name, memberName(header.linkPath));
    else if (header.type !== "file") return;
    else if (name === LAYOUT || name === DOCKER_MANIFEST)
      this.#addDocument(name, await readBytes(content, MAX_JSON_BYTES, `${name} of the archive`));
    else {
      const isRepeated = this.#files.has(name);
      const file = await this.#ingest(name, header.size, content);
      this.#addFile(name, file);
      this.#options.onBlob?.(file.digest);
      // A file may come again with the same bytes, any number of times: there is nothing new in it.
      if (name === INDEX && !isRepeated) await this.#options.onIndex?.(layoutIndex(file));
    }
  }

  finish(): ArchiveContents {
    const files = new Map(this.#files);
    // A link to a link is not followed: what Docker writes never needs it.
    for (const [name, target] of this.#links) {
      const file = this.#files.get(target);
      // A link that no image names does no harm; whoever asks for it is told that there is no such file.
      if (file !== undefined) files.set(name, file);
    }
    return { files, layout: this.#documents.get(LAYOUT), dockerManifest: this.#documents.get(DOCKER_MANIFEST) };
  }

  #ingest(name: string, size: number, body: AsyncIterable<Uint8Array>): Promise<StoredFile> {
    const { content, signal, onWriter, onProgress } = this.#options;
    const expected = digestOfPath(name);
    return ingestBlob(content, {
      ref: `tar-${this.#prefix}-${name.slice(-128)}`,
      size,
      expected,
      body,
      signal,
      ...(expected && {
        onWriter: (writer) => onWriter?.({ digest: expected, size }, writer),
        onProgress: (offset) => onProgress?.({ digest: expected, size }, offset),
      }),
    });
  }

  #addFile(name: string, file: StoredFile): void {
    const earlier = this.#files.get(name);
    if (earlier !== undefined && earlier.digest !== file.digest) throw duplicate(name);
    this.#files.set(name, file);
  }

  #addDocument(name: string, bytes: Uint8Array): void {
    const earlier = this.#documents.get(name);
    if (earlier !== undefined && Buffer.compare(earlier, bytes) !== 0) throw duplicate(name);
    this.#documents.set(name, bytes);
  }
}

/** This returns the descriptor of an OCI layout's index. */
export function layoutIndex({ digest, size }: StoredFile): Descriptor {
  return { mediaType: MediaType.ociIndex, digest, size };
}

function duplicate(name: string): Error {
  return invalidArgument(`archive holds ${JSON.stringify(name)} twice, with different bytes`);
}

/** `./a//b` is `a/b`; what is not below the archive's root is refused. */
function memberName(path: string): string {
  const name = posix.normalize(path);
  if (posix.isAbsolute(name) || name === ".." || name.startsWith("../") || path === "") {
    throw invalidArgument(`archive holds ${JSON.stringify(path)}, which is not below its root`);
  }
  return name;
}

function digestOfPath(name: string): Digest | undefined {
  const match = /^blobs\/([^/]+)\/([^/]+)$/.exec(name);
  if (match === null) return undefined;
  const digest = `${match[1]}:${match[2]}`;
  return isDigest(digest) ? digest : undefined;
}
