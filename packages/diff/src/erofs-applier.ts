import { constants } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { join } from "node:path";

import type { CallOptions } from "@berth/core/any";
import type { ContentProvider, ContentReader } from "@berth/core/content";
import { type Applier, type ApplyOptions, LAYER_NEEDS_PARENT } from "@berth/core/diff";
import { syncFile } from "@berth/core/durable-files";
import { type Logger, silentLogger } from "@berth/core/log";
import type { Mount } from "@berth/core/mount";
import { unimplemented, wrapError } from "@berth/errors";
import { closeFd, pipe2 } from "@berth/linux/files";
import {
  type Descriptor,
  EROFS_LAYER,
  erofsArguments,
  formatDigest,
  isErofsLayer,
  MediaType,
  MKFS_EROFS_MS,
} from "@berth/oci";

import { type LowerMounts, mountLowers } from "./erofs-lowers.ts";
import { awaitsParent, erofsLowers, erofsSnapshotDirectory, LAYER_FILE } from "./erofs-target.ts";
import type { LayerEngine } from "./layer-engine.ts";
import type { DescribedDirectories, LayerSummary } from "./layer-job.ts";
import { planProcessors, type ProcessorChain } from "./processor-chain.ts";

export interface ErofsApplierOptions {
  readonly content: ContentProvider;
  readonly engine: LayerEngine;
  /** Path of a `mkfs.erofs` that has the option `--tar`. */
  readonly mkfs: string;
  /** Further options of it. */
  readonly mkfsOptions?: readonly string[];
  /** Keep the tar as it is, behind an index of it, instead of converting it. */
  readonly tarIndex?: boolean;
  readonly log?: Logger;
}

const EROFS_LAYER_ZSTD = `${EROFS_LAYER}+zstd`;
const APPEND = constants.O_WRONLY | constants.O_APPEND;

/**
 * This makes an applier that gives a snapshot of the EROFS snapshotter its layer as an image: a layer that is one, or one made of a
 * tar layer by `mkfs.erofs`. The image comes into its place in one step. Directories that a tar layer only reaches through are what they
 * are in the layers below, where the mounts say which these are, else 0755 of root.
 *
 * What it returns is, for a tar layer, what other appliers return; for an EROFS layer, the image itself.
 *
 * @see containerd plugins/diff/erofs/differ.go
 */
export function createErofsApplier(options: ErofsApplierOptions): Applier {
  const { log = silentLogger } = options;
  return {
    async apply(layer, mounts, applyOptions = {}) {
      try {
        const started = performance.now();
        const applied = await new ErofsApply(options, layer, applyOptions).run(mounts);
        const durationMs = Math.round(performance.now() - started);
        log.debug("diff applied", { digest: layer.digest, media: layer.mediaType, size: applied.size, durationMs });
        return applied;
      } catch (error) {
        throw wrapError(error, `apply layer ${layer.digest}`);
      }
    },
  };
}

class ErofsApply {
  readonly #options: ErofsApplierOptions;
  readonly #layer: Descriptor;
  readonly #call: CallOptions;
  readonly #syncFs: boolean;
  readonly #chain: ProcessorChain;
  readonly #native: boolean;

  constructor(options: ErofsApplierOptions, layer: Descriptor, { payloads, signal, syncFs = false }: ApplyOptions) {
    this.#options = options;
    this.#layer = layer;
    this.#call = { signal };
    this.#syncFs = syncFs;
    this.#native = isErofsLayer(layer.mediaType);
    this.#chain = this.#native
      ? nativeChain(layer.mediaType)
      : planProcessors(layer.mediaType, options.engine.processors, payloads);
  }

  async run(mounts: readonly Mount[]): Promise<Descriptor> {
    this.#call.signal?.throwIfAborted();
    const directory = await erofsSnapshotDirectory(mounts);
    const image = join(directory, LAYER_FILE);
    const temporary = `${image}.applying`;
    await using undo = new AsyncDisposableStack();
    undo.defer(() => rm(temporary, { force: true }));
    await using blob = await this.#options.content.reader(this.#layer.digest, this.#call);
    const { sha256, size, impliedDirectories } = await this.#write(blob, temporary, mounts);
    if (this.#syncFs) await syncFile(temporary);
    await rename(temporary, image);
    undo.move();
    const mediaType = this.#native ? EROFS_LAYER : MediaType.ociLayer;
    const made = { mediaType, digest: formatDigest("sha256", sha256), size };
    if (impliedDirectories === 0 || !awaitsParent(mounts)) return made;
    return { ...made, annotations: { [LAYER_NEEDS_PARENT]: String(impliedDirectories) } };
  }

  async #write(blob: ContentReader, path: string, mounts: readonly Mount[]): Promise<LayerSummary> {
    if (this.#native) {
      await using file = await open(path, "w", 0o644);
      return await this.#options.engine.copy(blob, this.#chain, file.fd, this.#call);
    }
    const made = await this.#make(blob, path, { paths: [], lowers: [], find: true });
    const { undescribed = [] } = made;
    if (undescribed.length === 0) return made;
    // To mkfs.erofs a directory without a header is everybody's.
    await using below = await this.#mountLowers(mounts);
    await rm(path);
    await this.#make(blob, path, { paths: undescribed, lowers: below.paths, find: false });
    return made;
  }

  async #make(blob: ContentReader, path: string, directories: DescribedDirectories): Promise<LayerSummary> {
    const { engine, tarIndex = false } = this.#options;
    const made = await this.#convert(blob, path, tarIndex ? "i" : "f", directories);
    // The index counts on the bytes that it was made of; what is only to be made anew is not worth them.
    if (!tarIndex || (made.undescribed ?? []).length > 0) return made;
    await using file = await open(path, APPEND);
    await engine.copy(blob, this.#chain, file.fd, { ...this.#call, directories: { ...directories, find: false } });
    return made;
  }

  /** Without the layers below the directories get what they would get in a first layer: too little rather than too much. */
  async #mountLowers(mounts: readonly Mount[]): Promise<LowerMounts> {
    try {
      return await mountLowers(erofsLowers(mounts), {
        directory: this.#options.engine.temporaryDirectory,
        ...this.#call,
      });
    } catch (error) {
      this.#call.signal?.throwIfAborted();
      this.#options.log?.warn("failed to look at the layers below", { digest: this.#layer.digest, error });
      return { paths: [], [Symbol.asyncDispose]: async () => {} };
    }
  }

  /** The archive goes to the program through a pipe, which a worker fills. */
  async #convert(
    blob: ContentReader,
    path: string,
    mode: "f" | "i",
    directories: DescribedDirectories,
  ): Promise<LayerSummary> {
    const { engine, mkfs, mkfsOptions = [] } = this.#options;
    const args = erofsArguments(mode, path, { options: mkfsOptions, uuidOf: this.#layer.digest });
    const processor = { id: "mkfs.erofs", accepts: [], returns: EROFS_LAYER, path: mkfs, args, env: [] };
    const step = { processor, mediaType: MediaType.ociLayer, payload: undefined };
    const [read, write] = pipe2();
    using filling = new DisposableStack();
    filling.defer(() => closeFd(write));
    return await engine.withPrograms([step], { kind: "pipe", fd: read }, this.#call, async (programs) => {
      const layer = await engine.copy(blob, this.#chain, write, { ...this.#call, directories });
      filling.dispose();
      await programs.finish(MKFS_EROFS_MS);
      return layer;
    });
  }
}

function nativeChain(mediaType: string): ProcessorChain {
  if (mediaType === EROFS_LAYER) return { steps: [], compression: "none" };
  if (mediaType === EROFS_LAYER_ZSTD) return { steps: [], compression: "detect" };
  throw unimplemented(`no processor for media-type ${JSON.stringify(mediaType)}`);
}
