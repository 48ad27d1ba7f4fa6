import type { AnyValue } from "@berth/core/any";
import type { Namespace } from "@berth/core/namespaces";
import type { ExitStatus, ProcessInfo, ProcessRef, ProcessState, Task } from "@berth/core/runtime";
import { failedPrecondition, notFound } from "@berth/errors";

import type { Bundle } from "./bundle.ts";

/** A container that ended while no daemon watched, and whose shim is dead too: only its exit is known. It waits to be deleted. */
export class EndedTask implements Task {
  readonly bundle: Bundle;
  readonly exit: ExitStatus;

  constructor(bundle: Bundle, exit: ExitStatus) {
    this.bundle = bundle;
    this.exit = exit;
  }

  get id(): string {
    return this.bundle.id;
  }

  get namespace(): Namespace {
    return this.bundle.namespace;
  }

  async state({ execId = "" }: ProcessRef = {}): Promise<ProcessState> {
    this.#onlyInit(execId);
    const io = { stdin: "", stdout: "", stderr: "", terminal: false };
    return { id: this.id, execId, bundle: this.bundle.path, status: "stopped", ...this.exit, ...io };
  }

  async wait({ execId = "" }: ProcessRef = {}): Promise<ExitStatus> {
    this.#onlyInit(execId);
    return this.exit;
  }

  async kill(): Promise<void> {
    throw notFound("process already finished");
  }

  async pids(): Promise<readonly ProcessInfo[]> {
    return [];
  }

  async deleteProcess(execId: string): Promise<ExitStatus> {
    throw notFound(`process ${JSON.stringify(execId)} of task ${this.id}`);
  }

  async stats(): Promise<AnyValue> {
    throw notFound(`no metrics of task ${this.id}: it has ended`);
  }

  start = this.#refuse;
  exec = this.#refuse;
  resizePty = this.#refuse;
  closeIo = this.#refuse;
  pause = this.#refuse;
  resume = this.#refuse;
  checkpoint = this.#refuse;
  update = this.#refuse;

  #onlyInit(execId: string): void {
    if (execId !== "") throw notFound(`process ${JSON.stringify(execId)} of task ${this.id}`);
  }

  async #refuse(): Promise<never> {
    throw failedPrecondition(`task ${this.id} has ended`);
  }
}
