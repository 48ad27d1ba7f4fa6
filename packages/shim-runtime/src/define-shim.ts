import type { MessageInitShape, DescMessage } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import type { Sandbox } from "@berth/api/containerd/runtime/sandbox/v1/sandbox";
import type { Task } from "@berth/api/containerd/task/v3/task";
import type { Logger } from "@berth/core/log";
import type { ChildReaper } from "@berth/linux/process";
import type { Plugin } from "@berth/plugin-core";
import type { TtrpcService } from "@berth/ttrpc";

/** How a process ended, as kept in its container's bundle. */
export interface ExitRecord {
  /** Id of the container. */
  readonly id: string;
  /** Empty for init. */
  readonly execId: string;
  readonly pid: number;
  readonly exitStatus: number;
  readonly exitedAt: Date;
}

/** What a shim's tasks are given. */
export interface ShimContext {
  readonly namespace: string;
  /** Takes every child of the process, so that `node:child_process` must not be used beside it; its own only, when switched off. */
  readonly reaper: ChildReaper;
  readonly log: Logger;
  /** This sends an event to the daemon: for each container in the order of the calls, again when it does not arrive, without waiting. */
  publish<D extends DescMessage>(topic: string, schema: D, event: MessageInitShape<D>): void;
  /** This keeps the end of a process in the bundle; to be called before the exit event is published. */
  recordExit(bundle: string, record: ExitRecord): void;
  /** This removes the record of an exec whose status went out with the answer to its deletion. */
  forgetExit(bundle: string, execId: string): void;
}

/** The containers of one shim process. */
export interface ShimTasks extends AsyncDisposable {
  /** The sandboxes of this process, if it has any; they count into `size`. */
  readonly sandbox?: ServiceImpl<typeof Sandbox>;
  /** What else clients may ask this process, such as the Streaming service. */
  readonly services?: readonly TtrpcService[];
  /** Task v2 and v3 have the same messages and are both served by it. `shutdown` is answered by the runtime. */
  readonly service: Omit<ServiceImpl<typeof Task>, "shutdown">;
  /** How many containers are there; the process does not end before it is zero. */
  readonly size: number;
  /**
   * Whether a container of this id is in `size`. One that is being created has a place kept for it, and takes two of the pool's where
   * `size` has it too and this does not say so.
   */
  isCounted?(id: string): boolean;
  /**
   * This lets go of containers that somebody else has removed, as a daemon does that has lost the connection: nobody will ask for their
   * deletion, and they would keep the process. Called now and then.
   */
  dropForsaken?(): Promise<void>;
}

/** How a container ended. */
export type ContainerExit = Pick<ExitRecord, "pid" | "exitStatus" | "exitedAt">;

/** A container whose shim has died. */
export interface DeadContainer {
  readonly namespace: string;
  readonly id: string;
  readonly bundle: string;
  readonly log: Logger;
  /**
   * To be awaited between the end of its processes and the removal of the rest: a shim may leave many containers, whose ends are told first, and
   * which then are removed a few at a time. Called with nothing where it takes the removal to end them.
   */
  readonly beforeRemoval?: (exit?: ContainerExit) => Promise<void>;
}

/** What a runtime says of itself. */
export interface RuntimeFacts {
  readonly options?: Any;
  /** What the OCI runtime can do, as its `features` command puts it. */
  readonly features?: Any;
  readonly annotations?: Record<string, string>;
}

/** The version of a shim that names none. */
export const UNVERSIONED = "0.0.0";

/** A kind of shim. Everything is loaded by the action that needs it: import lazily. */
export interface ShimDefinition {
  /** Name of the runtime: `io.containerd.berth.v2`. */
  readonly runtime: string;
  readonly version?: string;
  readonly revision?: string;
  /** This describes the runtime, given the options of the `-info` call. */
  info?(options: Any | undefined): Promise<RuntimeFacts>;
  createTasks(context: ShimContext): Promise<ShimTasks>;
  /**
   * This removes what a container left when its shim died: processes, mounts, the state of the runtime; and says how it
   * ended. Without it nothing is removed, and a container whose end nobody saw counts as killed.
   */
  cleanUp?(container: DeadContainer): Promise<ContainerExit>;
  /**
   * Further parts of the serving process, booted when the tasks are there, in the order of what they require: other ttrpc
   * services (plugins of type `TtrpcPlugin`), whatever must be stopped in order. Called by the serving process alone.
   * @see ShimPlugin, EventPublisherPlugin
   */
  plugins?(): Promise<readonly Plugin[]>;
  /** This reads from the runtime options which cgroup the shim itself shall be in. */
  shimCgroup?(options: Any): Promise<string | undefined>;
  joinCgroup?(pid: number, cgroup: string): Promise<void>;
}

/** This only checks the type. */
export function defineShim(definition: ShimDefinition): ShimDefinition {
  return definition;
}
