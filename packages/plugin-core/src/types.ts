import type { ContentProvider, ContentStore } from "@berth/core/content";
import type { Applier, Comparer } from "@berth/core/diff";
import type { EventExchange } from "@berth/core/events";
import type { DeprecationLog } from "@berth/core/introspection";
import type { LeaseManager } from "@berth/core/leases";
import type { MetadataStore, NamespaceOptions } from "@berth/core/metadata";
import type { MountHandler, MountManager } from "@berth/core/mount";
import type { Namespace } from "@berth/core/namespaces";
import type { Nri } from "@berth/core/nri";
import type { TaskRuntime } from "@berth/core/runtime";
import type { SandboxController } from "@berth/core/sandbox-controller";
import type { SandboxStore } from "@berth/core/sandboxes";
import type { ShimBundles, ShimBundlesOptions } from "@berth/core/shims";
import type { StreamManager, StreamRegistry } from "@berth/core/streaming";
import type { Snapshotter } from "@berth/core/snapshots";
import type { ImageTransfers, ImageVerifier } from "@berth/core/transfer";
import type { Interceptor } from "@connectrpc/connect";

import { pluginType } from "./plugin-type.ts";
import type { ServiceRegistration } from "./service-registration.ts";

/** Collects garbage on demand. */
export interface GarbageCollector {
  /** This asks for a run and resolves when one that began after the call has ended. */
  collect(options?: { readonly signal?: AbortSignal }): Promise<void>;
  /** This tells of each run that has ended, until the result is disposed: how long it kept others out of the metadata, or that it failed. */
  onRun(listener: (run: { readonly pauseMs: number } | "failed") => void): Disposable;
}

/** Gives the leases of a namespace. */
export type LeaseManagerProvider = (namespace: Namespace) => LeaseManager;

/** Gives the records of sandboxes of a namespace. */
export type SandboxStoreProvider = (namespace: Namespace) => SandboxStore;

/** Gives a differ that reads and writes the content of a namespace; what it applies it reads from `layers`, where that is given. */
export type DifferProvider = (
  namespace: Namespace,
  options?: NamespaceOptions & { readonly layers?: ContentProvider },
) => Applier & Partial<Comparer>;

/** Gives the mount manager of a namespace; what is activated through a view with a lease is held by it. */
export type MountManagerProvider = (namespace: Namespace, options?: NamespaceOptions) => MountManager;

/** Finds shims and starts them. What it does for tasks is known to the runtime alone. */
export interface ShimManager {
  /** Path of the binary that a runtime name, or path, leads to. @throws not_found, invalid_argument */
  resolve(runtime: string): Promise<string>;
  /** This opens a place for shims that stand for no task, and takes over those of an earlier daemon. The caller disposes it. */
  openBundles(options: ShimBundlesOptions): Promise<ShimBundles>;
}

/** How tasks are watched. */
export interface TaskMonitor {
  /** Whether metrics of tasks are shown to Prometheus. */
  readonly prometheus: boolean;
}

/** What counts calls: each goes through it. */
export interface CallMetrics {
  readonly interceptor: Interceptor;
}

/** Blobs without namespaces. */
export const ContentPlugin = pluginType<ContentStore>("io.containerd.content.v1");
/** Snapshotters without namespaces. */
export const SnapshotPlugin = pluginType<Snapshotter>("io.containerd.snapshotter.v1");
/** The metadata database: namespaced views of everything. */
export const MetadataPlugin = pluginType<MetadataStore>("io.containerd.metadata.v1");
export const EventPlugin = pluginType<EventExchange>("io.containerd.event.v1");
export const LeasePlugin = pluginType<LeaseManagerProvider>("io.containerd.lease.v1");
export const SandboxStorePlugin = pluginType<SandboxStoreProvider>("io.containerd.sandbox.store.v1");
export const GcPlugin = pluginType<GarbageCollector>("io.containerd.gc.v1");
export const DiffPlugin = pluginType<DifferProvider>("io.containerd.differ.v1");
/** Makes the mounts of the type that is its id. */
export const MountHandlerPlugin = pluginType<MountHandler>("io.containerd.mount-handler.v1");
export const MountManagerPlugin = pluginType<MountManagerProvider>("io.containerd.mount-manager.v1");
export const ShimPlugin = pluginType<ShimManager>("io.containerd.shim.v1");
export const RuntimePlugin = pluginType<TaskRuntime>("io.containerd.runtime.v2");
/** Runs sandboxes; its id is the name of the sandboxer. */
export const SandboxControllerPlugin = pluginType<SandboxController>("io.containerd.sandbox.controller.v1");
/** Streams that clients have opened. */
export const StreamingPlugin = pluginType<StreamManager & StreamRegistry>("io.containerd.streaming.v1");
/** Moves images in and out. */
export const TransferPlugin = pluginType<ImageTransfers>("io.containerd.transfer.v1");
/** Decides what may be pulled. */
export const ImageVerifierPlugin = pluginType<ImageVerifier>("io.containerd.image-verifier.v1");
/** Watches containers, and starts those again that have ended. */
export const ContainerMonitorPlugin = pluginType<AsyncDisposable>("io.containerd.monitor.container.v1");
/** Watches tasks for their metrics. */
export const TaskMonitorPlugin = pluginType<TaskMonitor>("io.containerd.monitor.task.v1");
/** Tells plugins in other processes of pods and containers. */
export const NriPlugin = pluginType<Nri>("io.containerd.nri.v1");
export const WarningPlugin = pluginType<DeprecationLog>("io.containerd.warning.v1");
/** Services of the daemon's gRPC socket. */
export const GrpcPlugin = pluginType<readonly ServiceRegistration[]>("io.containerd.grpc.v1");
/** Services of the daemon's ttrpc socket. */
export const TtrpcPlugin = pluginType<readonly ServiceRegistration[]>("io.containerd.ttrpc.v1");
/** Counts the calls of the daemon's gRPC services. */
export const MetricsPlugin = pluginType<CallMetrics>("io.containerd.metrics.v1");
/** Listeners. */
export const ServerPlugin = pluginType<AsyncDisposable>("io.containerd.server.v1");
/** Settings inside the daemon. */
export const InternalPlugin = pluginType<unknown>("io.containerd.internal.v1");
