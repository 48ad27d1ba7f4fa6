import { ingestRef } from "@berth/images";
import type { Descriptor } from "@berth/oci";

import { print } from "./print.ts";
import { formatBar, ProgressLines } from "./progress.ts";
import { formatBinarySize } from "./size.ts";

interface Row {
  readonly descriptor: Descriptor;
  offset: number;
  state: string;
}

/** So many blobs that are done stay on the screen. */
const DONE_SHOWN = 8;

/**
 * How far a transfer of blobs is: a bar for each on a terminal, else a plain line for each blob that is done. Disposing wipes the bars.
 */
export class TransferProgress implements Disposable {
  readonly #lines = new ProgressLines();
  readonly #plain = !process.stderr.isTTY;
  readonly #verb: string;
  readonly #started = performance.now();
  readonly #rows = new Map<string, Row>();
  #bytes = 0;

  /** @param verb what is being done to a blob, "downloading" */
  constructor(verb: string) {
    this.#verb = verb;
  }

  /** So many bytes of a blob have moved, from its begin. */
  reached(descriptor: Descriptor, offset: number): void {
    const row = this.#rowOf(descriptor);
    this.#bytes += offset - row.offset;
    row.offset = offset;
    this.#repaint();
  }

  /** More bytes of a blob have moved. */
  moved(descriptor: Descriptor, bytes: number): void {
    this.reached(descriptor, this.#rowOf(descriptor).offset + bytes);
  }

  /** A blob is where it belongs. */
  done(descriptor: Descriptor, state: string): void {
    const row = this.#rowOf(descriptor);
    if (row.state === state) return;
    row.state = state;
    if (this.#plain) print(`${descriptor.digest} ${state}\n`);
    this.#repaint();
  }

  /** This wipes the bars and prints what it came to. */
  finish(): void {
    this.#lines.clear();
    if (!this.#plain) for (const { descriptor, state } of this.#rows.values()) print(`${descriptor.digest} ${state}\n`);
    print(this.#summary());
  }

  #rowOf(descriptor: Descriptor): Row {
    const known = this.#rows.get(descriptor.digest);
    if (known !== undefined) return known;
    const row = { descriptor, offset: 0, state: this.#verb };
    this.#rows.set(descriptor.digest, row);
    return row;
  }

  #repaint(): void {
    if (this.#plain) return;
    this.#lines.update(() => {
      const rows = [...this.#rows.values()];
      const moving = rows.filter(({ state }) => state === this.#verb);
      const ended = rows.filter(({ state }) => state !== this.#verb).slice(-DONE_SHOWN);
      return [...[...ended, ...moving].map((row) => this.#lineOf(row)), this.#summary().trimEnd()].join("\n");
    });
  }

  #lineOf({ descriptor, offset, state }: Row): string {
    const { size } = descriptor;
    const done = state === this.#verb ? offset : size;
    const name = ingestRef(descriptor).replace(/([0-9a-f]{12})[0-9a-f]+$/, "$1");
    return `${name} ${state.padEnd(this.#verb.length)} ${formatBar(done, size)} ${formatBinarySize(done)}/${formatBinarySize(size)}`;
  }

  #summary(): string {
    const seconds = Math.max((performance.now() - this.#started) / 1000, 0.001);
    return `elapsed: ${seconds.toFixed(1)} s\ttotal: ${formatBinarySize(this.#bytes)} (${formatBinarySize(this.#bytes / seconds)}/s)\n`;
  }

  [Symbol.dispose](): void {
    this.#lines.clear();
  }
}
