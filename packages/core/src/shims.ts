import type { Transport } from "@connectrpc/connect";

import type { AnyValue, CallOptions } from "./any.ts";
import type { Namespace } from "./namespaces.ts";
import type { ExitStatus } from "./runtime.ts";

/** How to talk to a shim. */
export interface ShimEndpoint {
  /** Version of the task API, 2 or 3. */
  readonly version: number;
  /** `unix:///path`, or the name of an abstract socket. */
  readonly address: string;
  readonly protocol: "ttrpc" | "grpc";
}

/** A shim process that does not stand for a task, with its bundle. Whoever started it gives it back to its {@link ShimBundles}. */
export interface ShimInstance {
  readonly namespace: Namespace;
  readonly id: string;
  readonly bundlePath: string;
  readonly endpoint: ShimEndpoint;
  /** For every service that the shim has. */
  readonly transport: Transport;
  /** Resolves when the connection is lost: the shim is dead then, and what it left has been removed. It never rejects. */
  readonly lost: Promise<ExitStatus>;
  readonly isLost: boolean;
}

/** What a shim is started for. */
export interface ShimStartOptions extends CallOptions {
  /** Written into the bundle as `config.json`, where there is one. */
  readonly spec?: AnyValue | undefined;
  /** Name of the runtime, or path of the shim's binary. */
  readonly runtime: string;
  /** Options of the runtime. */
  readonly options?: AnyValue | undefined;
}

/**
 * Shims with bundles in a place of their own, apart from those of tasks. Tasks of a sandbox of the same id and namespace go to its shim.
 *
 * Disposing it lets go of the shims and harms none.
 */
export interface ShimBundles extends AsyncDisposable {
  /** @throws already_exists - there is one of this name; not_found - no such runtime; unknown - it did not start */
  start(namespace: Namespace, id: string, options: ShimStartOptions): Promise<ShimInstance>;
  find(namespace: Namespace, id: string): ShimInstance | undefined;
  /**
   * This ends the connection and removes the bundle. With `kill` the shim's binary first removes whatever there is; without, the shim
   * is taken to have been told to end. One that is gone already is fine.
   */
  remove(shim: ShimInstance, options?: CallOptions & { readonly kill?: boolean }): Promise<void>;
}

/** Where the bundles of {@link ShimBundles} lie, and which of an earlier daemon's are taken over. */
export interface ShimBundlesOptions extends CallOptions {
  readonly stateDir: string;
  readonly rootDir: string;
  /** This tells of a living shim of an earlier daemon whether somebody still knows of it; others are ended. */
  isWanted(namespace: Namespace, id: string): Promise<boolean>;
}
