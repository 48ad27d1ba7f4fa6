import type { MessagePort } from "node:worker_threads";

import type { Compression, DecompressionBudgets, TarBudgets } from "@berth/archive";

import type { UnpackedMiB } from "./early-write-back.ts";
import type { Warning } from "./entry-metadata.ts";
import type { RemoteError } from "./remote-error.ts";
import type { Trees } from "./walk-changes.ts";

/** What a layer may cost, as an archive and as a compressed stream. */
export interface ApplyBudgets {
  readonly tar?: Partial<TarBudgets>;
  readonly decompression?: Partial<DecompressionBudgets>;
}

/** Where entries go, and how deletions are recorded there. */
export interface LayerPlace {
  /** A directory. */
  readonly root: string;
  /** `overlay`: marks of overlayfs; `naive`: what is hidden is deleted. */
  readonly whiteouts: "overlay" | "naive";
  /** The overlay is mounted with `userxattr`. */
  readonly userXattr: boolean;
  /** Directories of the layers below, the nearest first. */
  readonly lowers: readonly string[];
  /** What is below is known: nothing, or the layers named, or what the root shows. Not so of one that will get its parent later. */
  readonly hasAllLayers: boolean;
}

/** Where the bytes of the blob come from: a file that the worker opens, a pipe that it reads, or chunks that it asks for one by one. */
export type LayerSource =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "pipe"; readonly fd: number }
  | { readonly kind: "port"; readonly port: MessagePort };

/** A program that writes to its output what it gunzips from its input. */
export interface GunzipProgram {
  readonly path: string;
  readonly args: readonly string[];
}

interface LayerJobBase {
  /** One cell; no longer 0 when the job is to stop. Shared, so that it reaches a thread that is busy. */
  readonly cancelled: Int32Array<SharedArrayBuffer>;
}

/** The bytes of a blob, and how they become those of the layer. */
export interface UncompressedFrom extends LayerJobBase {
  readonly source: LayerSource;
  /** `detect`: by the first bytes; `none`: the blob is the layer itself. */
  readonly compression: "detect" | "none";
  readonly gunzip: GunzipProgram | undefined;
  readonly budgets: ApplyBudgets;
}

/** A worker is told to apply a layer. */
export interface ApplyJob extends UncompressedFrom {
  readonly kind: "apply";
  readonly place: LayerPlace;
  readonly unpacked: UnpackedMiB;
}

/** A worker is told to write the uncompressed layer to a descriptor. */
export interface CopyJob extends UncompressedFrom {
  readonly kind: "copy";
  readonly fd: number;
  /** Headers to be written in front of the archive. */
  readonly directories?: DescribedDirectories | undefined;
}

/** Directories to be described in front of an archive, the root always. */
export interface DescribedDirectories {
  /** Clean paths, each before what is in it. */
  readonly paths: readonly string[];
  /** Directories of the layers below, the nearest first, which say what they are like. */
  readonly lowers: readonly string[];
  /** Look for those that the archive does not describe. */
  readonly find: boolean;
}

/** A worker is told to make a layer of what is different in the upper of two trees. */
export interface CompareJob extends LayerJobBase {
  readonly kind: "compare";
  readonly trees: Trees;
  readonly compression: Compression;
  /** No time in the layer is later; seconds since 1970. */
  readonly latestSeconds: number | undefined;
  /** Where the bytes are asked for, chunk by chunk. */
  readonly port: MessagePort;
}

/** What a worker may be told to do. */
export type LayerJob = ApplyJob | CopyJob | CompareJob;

/** What the uncompressed archive was. */
export interface LayerSummary {
  /** sha256 in hex. */
  readonly sha256: string;
  readonly size: number;
  /** Directories made for what is in them, with nothing that says what they are like. */
  readonly impliedDirectories: number;
  /** Clean paths of these, where they were looked for, each before what is in it. */
  readonly undescribed?: readonly string[];
  /** The first ones; `warningCount` says how many there were. */
  readonly warnings: readonly Warning[];
  readonly warningCount: number;
}

/** What a worker answers. */
export type LayerOutcome =
  | { readonly kind: "done"; readonly layer: LayerSummary }
  | { readonly kind: "failed"; readonly error: RemoteError };

/** A job on its way to a worker, by a number that its answer has too. */
export interface LayerRequest {
  readonly job: number;
  readonly work: LayerJob;
}

/** What a worker sends back. */
export interface LayerAnswer {
  readonly job: number;
  readonly outcome: LayerOutcome;
}
