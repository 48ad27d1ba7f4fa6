import { ProgressSchema } from "@berth/api/containerd/types/transfer/progress";
import { toProtoDescriptor } from "@berth/core/proto-descriptor";
import { raceSignal } from "@berth/core/race-signal";
import type { Stream } from "@berth/core/streaming";
import type { TransferProgress } from "@berth/core/transfer";

import { packMessage } from "./messages.ts";

/** Bytes are told this often. */
const TICK_MS = 300;
/** At the end, a client has so long to read what is left. */
const FLUSH_MS = 2000;

/**
 * Sends progress to a client at the pace of the client: a newer count of bytes takes the place of one that is still waiting, so that no more
 * waits than there are things to tell of. Disposing sends what is left and closes the stream.
 */
export class ProgressSender implements AsyncDisposable {
  readonly #stream: Stream;
  readonly #waiting = new Map<string, TransferProgress>();
  readonly #counts = new Map<string, TransferProgress>();
  readonly #timer: NodeJS.Timeout;
  #pumping: Promise<void> = Promise.resolve();
  #isPumping = false;
  #isBroken = false;

  constructor(stream: Stream) {
    this.#stream = stream;
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#timer.unref();
  }

  /** This takes a step of the transfer; it waits for nothing and never throws. */
  readonly send = (step: TransferProgress): void => {
    if (step.event === "downloading" || step.event === "uploading") {
      this.#counts.set(step.name, step);
      return;
    }
    // It says more than the bytes before it.
    this.#counts.delete(step.name);
    this.#enqueue(step);
  };

  #tick(): void {
    for (const step of this.#counts.values()) this.#enqueue(step);
    this.#counts.clear();
  }

  #enqueue(step: TransferProgress): void {
    if (this.#isBroken) return;
    this.#waiting.set(`${step.name} ${step.event}`, step);
    if (!this.#isPumping) this.#pumping = this.#pump();
  }

  async #pump(): Promise<void> {
    this.#isPumping = true;
    try {
      for (;;) {
        const [first] = this.#waiting;
        if (first === undefined) return;
        const [key, step] = first;
        this.#waiting.delete(key);
        await this.#stream.send(toMessage(step));
      }
    } catch {
      // Whoever wanted to watch has left: the transfer goes on.
      this.#isBroken = true;
      this.#waiting.clear();
    } finally {
      this.#isPumping = false;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await raceSignal(this.#pumping, AbortSignal.timeout(FLUSH_MS)).catch(() => {});
    this.#stream.close();
  }
}

function toMessage({ event, name, parents = [], progress = 0, total = 0, descriptor }: TransferProgress) {
  return packMessage(ProgressSchema, {
    event,
    name,
    parents: [...parents],
    progress: BigInt(progress),
    total: BigInt(total),
    ...(descriptor && { desc: toProtoDescriptor(descriptor) }),
  });
}
