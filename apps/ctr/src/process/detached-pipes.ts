import { closeSync, constants } from "node:fs";

import type { AttachedIo } from "@berth/client/run";
import type { ProcessIo } from "@berth/core/runtime";

import type { FifoSet } from "./fifo-set.ts";
import { openPipe } from "@berth/client/run";

/**
 * Pipes that nobody is attached to yet. Their ends are held open while the process starts, for containerd's shim opens pipes one
 * after the other and waits for each. Afterwards the shim keeps what is written until somebody attaches.
 */
export class DetachedPipes implements AttachedIo {
  readonly paths: ProcessIo;
  readonly #owner: FifoSet;
  #descriptors: readonly number[];

  /** The pipes are removed when this is disposed, which is only after a failed start. */
  constructor(owner: FifoSet) {
    this.paths = owner.paths;
    this.#owner = owner;
    const { stdin, stdout, stderr } = owner.paths;
    this.#descriptors = [
      openPipe(stdin, constants.O_RDWR),
      ...[stdout, stderr].filter((path) => path !== "").map((path) => openPipe(path, constants.O_RDONLY)),
    ];
  }

  /** This lets go of the pipes and leaves them where they are. */
  release(): void {
    for (const descriptor of this.#descriptors) closeSync(descriptor);
    this.#descriptors = [];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.release();
    await this.#owner[Symbol.asyncDispose]();
  }
}
