import type { Descriptor } from "@berth/oci";

import { print } from "./print.ts";
import { ProgressLine } from "./progress.ts";
import { formatBinarySize } from "./size.ts";

/**
 * How far a transfer of blobs is: one line repainted on a terminal, else a plain line for each blob that is done. Disposing wipes the line.
 */
export class TransferProgress implements Disposable {
  readonly #line = new ProgressLine();
  readonly #plain = !process.stderr.isTTY;
  readonly #verb: string;
  readonly #started = performance.now();
  readonly #moving = new Map<string, number>();
  #bytes = 0;
  #done = 0;

  /** @param verb what is being done, "pulling" */
  constructor(verb: string) {
    this.#verb = verb;
  }

  /** So many bytes of a blob have moved, from its begin. */
  reached(descriptor: Descriptor, offset: number): void {
    this.#bytes += offset - (this.#moving.get(descriptor.digest) ?? 0);
    this.#moving.set(descriptor.digest, offset);
    this.#line.update(
      () => `${this.#verb}: ${this.#done} blobs done, ${formatBinarySize(this.#bytes)} (${this.#rate()})`,
    );
  }

  /** More bytes of a blob have moved. */
  moved(descriptor: Descriptor, bytes: number): void {
    this.reached(descriptor, (this.#moving.get(descriptor.digest) ?? 0) + bytes);
  }

  /** A blob is where it belongs. */
  done(descriptor: Descriptor, state: string): void {
    this.#done += 1;
    if (this.#plain) print(`${descriptor.digest} ${state}\n`);
  }

  /** This wipes the line and prints what it came to. */
  finish(): void {
    this.#line.clear();
    const seconds = (performance.now() - this.#started) / 1000;
    print(`elapsed: ${seconds.toFixed(1)} s\ttotal: ${formatBinarySize(this.#bytes)} (${this.#rate()})\n`);
  }

  #rate(): string {
    const seconds = Math.max((performance.now() - this.#started) / 1000, 0.001);
    return `${formatBinarySize(this.#bytes / seconds)}/s`;
  }

  [Symbol.dispose](): void {
    this.#line.clear();
  }
}
