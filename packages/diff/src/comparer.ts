import { randomBytes } from "node:crypto";

import type { Compression } from "@berth/archive";
import type { ContentInfo, ContentStore, ContentWriter } from "@berth/core/content";
import type { Comparer, CompareOptions } from "@berth/core/diff";
import { UNCOMPRESSED_LABEL } from "@berth/core/diff";
import { noLabels } from "@berth/core/labels";
import { type Logger, silentLogger } from "@berth/core/log";
import type { Mount } from "@berth/core/mount";
import { isAlreadyExists, unimplemented, wrapError } from "@berth/errors";
import { type Descriptor, type Digest, formatDigest, MediaType } from "@berth/oci";

import { openComparedTrees } from "./compared-trees.ts";
import type { LayerEngine } from "./layer-engine.ts";

export interface ComparerOptions {
  /** Where layers are written to. */
  readonly content: ContentStore;
  /** Threads shared with others. */
  readonly engine: LayerEngine;
  readonly log?: Logger;
}

const COMPRESSIONS: ReadonlyMap<string, Compression> = new Map([
  [MediaType.ociLayer, "none"],
  [MediaType.ociLayerGzip, "gzip"],
  [MediaType.ociLayerZstd, "zstd"],
]);

/**
 * This makes a comparer that walks two trees and writes what is different as a tar layer, plain or compressed by gzip or zstd. The
 * same trees give the same layer. It may be used by many at once.
 *
 * @see containerd plugins/diff/walking/differ.go
 */
export function createComparer(options: ComparerOptions): Comparer {
  return {
    async compare(lower, upper, compareOptions = {}) {
      try {
        return await new Comparison(options, compareOptions).run(lower, upper);
      } catch (error) {
        throw wrapError(error, "compare trees");
      }
    },
  };
}

class Comparison {
  readonly #content: ContentStore;
  readonly #engine: LayerEngine;
  readonly #log: Logger;
  readonly #options: CompareOptions;

  constructor({ content, engine, log = silentLogger }: ComparerOptions, options: CompareOptions) {
    this.#content = content;
    this.#engine = engine;
    this.#log = log;
    this.#options = options;
  }

  async run(lower: readonly Mount[], upper: readonly Mount[]): Promise<Descriptor> {
    const { mediaType = MediaType.ociLayerGzip, signal } = this.#options;
    signal?.throwIfAborted();
    const compression = COMPRESSIONS.get(mediaType);
    if (compression === undefined) throw unimplemented(`no layer of media-type ${JSON.stringify(mediaType)} is made`);
    const { temporaryDirectory } = this.#engine;
    await using compared = await openComparedTrees(lower, upper, { temporaryDirectory, signal });
    const started = performance.now();
    const { digest, size } = await this.#ingest(async (writer) => {
      const { sourceDateEpoch } = this.#options;
      const latestSeconds = sourceDateEpoch === undefined ? undefined : Math.floor(sourceDateEpoch / 1000);
      const job = { trees: compared.trees, compression, latestSeconds };
      const { sha256, warnings } = await this.#engine.compare(job, (chunk) => writer.write(chunk, { signal }), {
        signal,
      });
      for (const { message, path } of warnings) this.#log.warn(message, { path });
      return formatDigest("sha256", sha256);
    });
    const durationMs = Math.round(performance.now() - started);
    this.#log.debug("diff created", { digest, media: mediaType, size, durationMs });
    return { mediaType, digest, size };
  }

  /** A ref that is our own is not left behind; one of the caller's is the caller's. */
  async #ingest(fill: (writer: ContentWriter) => Promise<Digest>): Promise<ContentInfo> {
    const { ref = uniqueRef(), signal } = this.#options;
    await using undo = new AsyncDisposableStack();
    if (this.#options.ref === undefined) undo.defer(() => this.#content.abort(ref).catch(() => {}));
    await using writer = await this.#content.writer(ref, { signal });
    if ((await writer.status({ signal })).offset > 0) await writer.truncate(0, { signal });
    const diffId = await fill(writer);
    const info = await this.#commit(writer, diffId);
    undo.move();
    return info;
  }

  async #commit(writer: ContentWriter, diffId: Digest): Promise<ContentInfo> {
    const { signal } = this.#options;
    const labels = new Map([...(this.#options.labels ?? noLabels), [UNCOMPRESSED_LABEL, diffId]]);
    const digest = await writer.digest({ signal });
    try {
      return await writer.commit({ digest, labels, signal });
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
    }
    const there = await this.#content.info(digest, { signal });
    if (there.labels.has(UNCOMPRESSED_LABEL)) return there;
    const change = { digest, labels: new Map([[UNCOMPRESSED_LABEL, diffId]]) };
    return this.#content.update(change, { fieldpaths: [`labels.${UNCOMPRESSED_LABEL}`], signal });
  }
}

function uniqueRef(): string {
  return `diff-${Date.now()}-${randomBytes(6).toString("base64url")}`;
}
