import type { Descriptor, Platform } from "@berth/oci";

import type { CallOptions } from "./any.ts";
import type { Labels } from "./labels.ts";
import type { Namespace } from "./namespaces.ts";

/** A step of a transfer, for whoever watches it. */
export interface TransferProgress {
  /** What happens, in containerd's words: `downloading`, `extracted`, `saved`. */
  readonly event: string;
  /** To what: an image's name, or the ref of a blob. */
  readonly name: string;
  /** Names of what it belongs to. */
  readonly parents?: readonly string[];
  /** Bytes, where they are counted. */
  readonly progress?: number;
  readonly total?: number;
  readonly descriptor?: Descriptor;
}

/** Options of every transfer. */
export interface TransferOptions extends CallOptions {
  /** Holds what is made until the caller lets go of it; a transfer without one has a lease of its own while it lasts. */
  readonly lease?: string | undefined;
  /** Called often; must not throw. */
  readonly onProgress?: (progress: TransferProgress) => void;
}

/** How a registry is reached, where that is not as the daemon is configured. */
export interface RegistryAccess {
  /** A user's name and secret for a host; without a name the secret is a refresh token. A `header` is sent instead of both, as it is. */
  readonly credentials?: (
    host: string,
    options?: { readonly signal?: AbortSignal },
  ) => Promise<{ readonly username: string; readonly secret: string; readonly header?: string } | undefined>;
  /** Directory with a directory for each registry. */
  readonly hostDirectory?: string;
  /** Sent with each request. */
  readonly headers?: ReadonlyMap<string, readonly string[]>;
  /** Ask registries by plain HTTP whose `hosts.toml` names no server, but for Docker Hub. */
  readonly plainHttp?: boolean;
  /** Told in a line, without secrets, of each request and each answer; must not throw. */
  readonly onHttp?: (line: string) => void;
}

/** An image in a registry. */
export interface RegistryImage {
  /** Its name, in full. */
  readonly reference: string;
  readonly access: RegistryAccess;
}

/** Another name, or names, that images get. */
export interface ImageNaming {
  /** A name, or with `isPrefix` what stands before tags and digests. */
  readonly name: string;
  readonly isPrefix: boolean;
  /** With `isPrefix`: also take names in an archive that do not begin with it. */
  readonly allowOverwrite: boolean;
  /** Name it by its digest. */
  readonly addDigest: boolean;
  /** With `addDigest`: not what has a name. */
  readonly skipNamedDigest: boolean;
}

/** Where a transfer unpacks to. */
export interface UnpackTarget {
  /** That of this machine when absent. */
  readonly platform?: Platform;
  /** Empty for the default. */
  readonly snapshotter: string;
}

/** Images of a namespace, as source or destination. */
export interface StoredImages {
  /** Empty where only `extraNames` count. */
  readonly name: string;
  readonly labels: Labels;
  /** Empty for every platform. */
  readonly platforms: readonly Platform[];
  /** Take the documents of all platforms, layers only of those wanted. */
  readonly allMetadata: boolean;
  /** So many manifests at most; 0 for all. */
  readonly manifestLimit: number;
  readonly extraNames: readonly ImageNaming[];
  readonly unpacks: readonly UnpackTarget[];
}

/** How an archive is taken in. */
export interface ImportChoice {
  /** Store the layers of a Docker archive by gzip where they are not compressed. */
  readonly compressLayers?: boolean;
}

/** What goes into an archive, and how. */
export interface ArchiveChoice {
  /** Empty, without `allPlatforms`: that of this machine. */
  readonly platforms: readonly Platform[];
  readonly allPlatforms: boolean;
  readonly skipDockerManifest: boolean;
  readonly skipNonDistributable: boolean;
}

/**
 * Moves images between registries, archives and namespaces, inside the daemon. Calls may overlap; those for the same blobs share the
 * work, and one that ends early takes nothing from the others.
 *
 * @see containerd core/transfer/transfer.go, Transferrer
 */
export interface ImageTransfers {
  /** @throws permission_denied - an image verifier is against it; as registry, content store and snapshotter */
  pull(namespace: Namespace, from: RegistryImage, to: StoredImages, options?: TransferOptions): Promise<void>;
  /** @throws not_found - no such image, or a blob of it; as the registry */
  push(namespace: Namespace, from: StoredImages, to: RegistryImage, options?: TransferOptions): Promise<void>;
  /** This reads an OCI layout or a Docker archive, compressed or not. @throws not_found - nothing in it gets a name */
  importArchive(
    namespace: Namespace,
    archive: AsyncIterable<Uint8Array>,
    to: StoredImages,
    options?: TransferOptions & ImportChoice,
  ): Promise<void>;
  /** This yields a tar; nothing is read before somebody takes the bytes. @throws not_found */
  exportArchive(
    namespace: Namespace,
    from: StoredImages,
    choice: ArchiveChoice,
    options?: TransferOptions,
  ): AsyncIterable<Uint8Array>;
  /** This gives an image more names. @throws not_found */
  tag(namespace: Namespace, from: StoredImages, to: StoredImages, options?: TransferOptions): Promise<void>;
}

/** What an image verifier says. */
export interface ImageJudgement {
  readonly accepted: boolean;
  readonly reason: string;
}

/** Decides whether an image may be pulled. */
export interface ImageVerifier {
  /** @throws whatever kept it from deciding: the image is then not pulled */
  verify(name: string, descriptor: Descriptor, options?: CallOptions): Promise<ImageJudgement>;
}
