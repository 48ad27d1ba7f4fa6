import type { MessageShape } from "@bufbuild/protobuf";
import { createRegistry, fromBinary } from "@bufbuild/protobuf";
import * as containers from "@berth/api/containerd/events/container";
import * as content from "@berth/api/containerd/events/content";
import * as namespaces from "@berth/api/containerd/events/namespace";
import * as sandboxes from "@berth/api/containerd/events/sandbox";
import * as snapshots from "@berth/api/containerd/events/snapshot";
import * as tasks from "@berth/api/containerd/events/task";
import * as images from "@berth/api/containerd/services/images/v1/events";
import type { CallOptions } from "@berth/core/any";
import type { EventEnvelope } from "@berth/core/events";

import type { Client } from "./client.ts";

/** The messages that containerd publishes, by their names without the package: for whoever decodes events, or writes them as JSON. */
export const EVENT_SCHEMAS = {
  ContainerCreate: containers.ContainerCreateSchema,
  ContainerUpdate: containers.ContainerUpdateSchema,
  ContainerDelete: containers.ContainerDeleteSchema,
  ContentCreate: content.ContentCreateSchema,
  ContentDelete: content.ContentDeleteSchema,
  ImageCreate: images.ImageCreateSchema,
  ImageUpdate: images.ImageUpdateSchema,
  ImageDelete: images.ImageDeleteSchema,
  NamespaceCreate: namespaces.NamespaceCreateSchema,
  NamespaceUpdate: namespaces.NamespaceUpdateSchema,
  NamespaceDelete: namespaces.NamespaceDeleteSchema,
  SandboxCreate: sandboxes.SandboxCreateSchema,
  SandboxStart: sandboxes.SandboxStartSchema,
  SandboxExit: sandboxes.SandboxExitSchema,
  SnapshotPrepare: snapshots.SnapshotPrepareSchema,
  SnapshotCommit: snapshots.SnapshotCommitSchema,
  SnapshotRemove: snapshots.SnapshotRemoveSchema,
  TaskCreate: tasks.TaskCreateSchema,
  TaskStart: tasks.TaskStartSchema,
  TaskDelete: tasks.TaskDeleteSchema,
  TaskIO: tasks.TaskIOSchema,
  TaskExit: tasks.TaskExitSchema,
  TaskOOM: tasks.TaskOOMSchema,
  TaskExecAdded: tasks.TaskExecAddedSchema,
  TaskExecStarted: tasks.TaskExecStartedSchema,
  TaskPaused: tasks.TaskPausedSchema,
  TaskResumed: tasks.TaskResumedSchema,
  TaskCheckpointed: tasks.TaskCheckpointedSchema,
} as const;

/** {@link EVENT_SCHEMAS}, as a type. */
export type EventSchemas = typeof EVENT_SCHEMAS;

/** An event with its content read. `type` says which it is, and so of what shape `data` is. */
export type WatchedEvent =
  | {
      readonly [T in keyof EventSchemas]: Occurrence & {
        readonly type: T;
        readonly data: MessageShape<EventSchemas[T]>;
      };
    }[keyof EventSchemas]
  | (Occurrence & { readonly type: "unknown"; readonly data: EventEnvelope["event"] });

/** When and where something happened. */
export interface Occurrence extends Omit<EventEnvelope, "event" | "timestampNs"> {
  readonly time: Date;
}

/** Options of {@link watchEvents}. */
export interface WatchEventsOptions extends CallOptions {
  /** Filters of the daemon, any of which must match: `topic=="/tasks/exit"`, `event.container_id==one`, `namespace==default`. */
  readonly filters?: readonly string[];
}

/** Events as they happen, to be iterated once. */
export interface WatchedEvents extends AsyncIterableIterator<WatchedEvent, void, undefined>, AsyncDisposable {
  /** This ends the subscription, also for whoever waits for an event. */
  return(): Promise<IteratorResult<WatchedEvent, void>>;
}

/**
 * This yields events as they happen, of all namespaces unless a filter says otherwise, until the loop is left, `return` is called, it is disposed, or the signal aborts it. The subscription is asked for
 * before this returns, and ends by any of these also where no event was read; the protocol does not tell when it has begun.
 *
 * @throws invalid_argument - a filter is none; canceled
 */
export function watchEvents(client: Client, options: WatchEventsOptions = {}): WatchedEvents {
  return new DecodedEvents(client.events.subscribe(options)[Symbol.asyncIterator]());
}

/** Not a generator: one that is left before it has begun leaves its source open. */
class DecodedEvents implements WatchedEvents {
  readonly #envelopes: AsyncIterator<EventEnvelope>;

  constructor(envelopes: AsyncIterator<EventEnvelope>) {
    this.#envelopes = envelopes;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<WatchedEvent, void>> {
    const { done, value } = await this.#envelopes.next();
    return done === true ? { done, value: undefined } : { done: false, value: decodeEvent(value) };
  }

  async return(): Promise<IteratorResult<WatchedEvent, void>> {
    await this.#envelopes.return?.();
    return { done: true, value: undefined };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }
}

const registry = createRegistry(...Object.values(EVENT_SCHEMAS));
const TYPES: ReadonlyMap<string, keyof EventSchemas> = new Map(
  // The keys of the constant are the types.
  (Object.keys(EVENT_SCHEMAS) as (keyof EventSchemas)[]).map((type) => [EVENT_SCHEMAS[type].typeName, type]),
);

/** This reads the content of an event. One of a type that is not known here, or whose bytes are not of it, stays as it is. */
export function decodeEvent({ timestampNs, namespace, topic, event }: EventEnvelope): WatchedEvent {
  const time = new Date(Number(timestampNs / 1_000_000n));
  const name = event.typeUrl.slice(event.typeUrl.lastIndexOf("/") + 1);
  const schema = registry.getMessage(name);
  const type = TYPES.get(name);
  const unread: WatchedEvent = { time, namespace, topic, type: "unknown", data: event };
  if (schema === undefined || type === undefined) return unread;
  try {
    // Type and schema are of the same entry of the constant.
    return { time, namespace, topic, type, data: fromBinary(schema, event.value) } as WatchedEvent;
  } catch {
    return unread;
  }
}
