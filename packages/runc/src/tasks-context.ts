import type { Logger } from "@berth/core/log";
import type { StreamSource } from "@berth/core/streaming";
import type { ChildReaper } from "@berth/linux/process";
import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";

/** What the tasks of a shim are given. */
export interface RuncTasksContext {
  readonly namespace: string;
  readonly reaper: ChildReaper;
  readonly log: Logger;
  publish<D extends DescMessage>(topic: string, schema: D, event: MessageInitShape<D>): void;
  /** This keeps the end of a process where the daemon finds it; called before the exit is published. */
  recordExit(bundle: string, record: ProcessExitRecord): void;
  /** This removes the record of an exec that was deleted. One that is not there is fine. */
  forgetExit(bundle: string, execId: string): void;
  /** Streams that clients have opened at this process, for standard streams that name one; without it they are refused. */
  readonly streams?: StreamSource | undefined;
  /** Directory of the runtime's state where the options name none; default `/run/berth/runc`. */
  readonly runcRoot?: string | undefined;
}

/** How a process ended, to be kept. */
export interface ProcessExitRecord {
  readonly id: string;
  readonly execId: string;
  readonly pid: number;
  readonly exitStatus: number;
  readonly exitedAt: Date;
}
