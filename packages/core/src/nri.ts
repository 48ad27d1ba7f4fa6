import type { ContainerEviction, ContainerUpdate } from "@berth/api/nri/pkg/api/v1alpha1/adjustment";
import type { Container, PodSandbox } from "@berth/api/nri/pkg/api/v1alpha1/objects";
import type { Plugin } from "@berth/api/nri/pkg/api/v1alpha1/plugin";
import type { MessageInitShape, MessageShape } from "@bufbuild/protobuf";

import type { CallOptions } from "./any.ts";

type Calls = (typeof Plugin)["method"];

/** What plugins of NRI are told of, each by the call of this name. */
export type NriEvent = Exclude<keyof Calls, "configure" | "synchronize" | "shutdown" | "stateChange">;

export type NriRequest<E extends NriEvent> = MessageInitShape<Calls[E]["input"]>;
export type NriResponse<E extends NriEvent> = MessageShape<Calls[E]["output"]>;

/** What one plugin answered. */
export interface NriAnswer<E extends NriEvent> {
  /** `<index>-<name>`. */
  readonly plugin: string;
  readonly response: NriResponse<E>;
}

/** A plugin that takes part. */
export interface NriPluginInfo {
  /** Two digits: plugins are called in this order. */
  readonly index: string;
  readonly name: string;
  /** Started by the daemon, not connected from outside. */
  readonly preInstalled: boolean;
  /** Process id of its end of the connection; 0 where it is not known. */
  readonly pid: number;
}

/** Who owns pods and containers that plugins may know of: one for each namespace that takes part. */
export interface NriDomain {
  readonly namespace: string;
  /** All that plugins which come are told of at first. */
  listPods(options?: CallOptions): Promise<readonly PodSandbox[]>;
  listContainers(options?: CallOptions): Promise<readonly Container[]>;
  hasContainer(id: string): boolean;
  /** This does what a plugin has asked for of its own accord; no event is under way meanwhile, and none may be waited for. */
  updateContainer(update: ContainerUpdate, options?: CallOptions): Promise<void>;
  evictContainer(eviction: ContainerEviction, options?: CallOptions): Promise<void>;
}

/**
 * The runtime's side of the Node Resource Interface: plugins, in the order of their indices, and what they are told.
 *
 * One event is under way at a time; all plugins see events in one order, and a plugin that comes is brought up to date before it sees
 * one. A plugin that does not answer in time, or whose connection breaks, is sent away and no longer asked: that is no error of the event.
 *
 * @see containerd internal/nri/nri.go, API
 */
export interface Nri {
  /** Plugins that are up to date, in the order in which they are called. */
  readonly plugins: readonly NriPluginInfo[];
  /** This lets plugins know of what a namespace holds, until the result is disposed. @throws already_exists - the namespace is there */
  addDomain(domain: NriDomain): Disposable;
  /**
   * This tells plugins of an event, one after the other, and yields what each has answered before it asks the next one: what the caller
   * changes in `request` in between, the next one sees. Other events wait until the loop over it is left.
   *
   * @throws the error that a plugin answered with; plugins after it are not asked
   */
  relay<E extends NriEvent>(event: E, request: NriRequest<E>, options?: CallOptions): AsyncIterable<NriAnswer<E>>;
  /** This tells plugins of an event whose answers say nothing. @throws as `relay` */
  notify<E extends NriEvent>(event: E, request: NriRequest<E>, options?: CallOptions): Promise<void>;
  /**
   * This keeps plugins that come from being brought up to date until the result is disposed: for steps after which a pod or container
   * is known to a domain, or no longer. Many may hold it; it must not be taken again by one who has it.
   */
  holdSynchronization(options?: CallOptions): Promise<Disposable>;
}
