import type { CallOptions } from "@berth/core/any";
import type { Turns } from "@berth/core/turns";

import { ChunkQueue } from "./chunk-queue.ts";
import type { PartMemory } from "./part-memory.ts";

/** So many parts of a download may fail; then it goes on in one piece at a time. */
const MAX_FAILED = 3;

/** How a client splits downloads. */
export interface PartSettings {
  /** Of one part, at most. */
  readonly bytes: number;
  /** Requests for parts, of all downloads of the client, that are under way at once. */
  readonly requests: Turns;
  readonly memory: PartMemory;
}

/** Bytes of a download, from the first to before the last. */
export interface Stretch {
  readonly from: number;
  readonly to: number;
}

/** This opens a part of a download; `undefined` from a server that gives no parts. */
export type OpenPart = (stretch: Stretch, options: CallOptions) => Promise<AsyncIterable<Uint8Array> | undefined>;

/**
 * The parts of one download that are fetched while others are read: as many as there are requests and memory for, which each has for all of its bytes, so that it never waits for a reader.
 * A part that fails is no failure of the download: what came of it counts, and the rest is missing. Disposing ends them all.
 */
export class PartsAhead implements AsyncDisposable {
  readonly #size: number;
  readonly #settings: PartSettings;
  readonly #open: OpenPart;
  readonly #abort = new AbortController();
  readonly #signal: AbortSignal;
  /** By their first byte. */
  readonly #parts = new Map<number, Part>();
  readonly #running = new Set<Promise<void>>();
  /** Where the next part begins, at the earliest. */
  #next = 0;
  #failed = 0;

  constructor(size: number, settings: PartSettings, open: OpenPart, { signal }: CallOptions) {
    this.#size = size;
    this.#settings = settings;
    this.#open = open;
    this.#signal = signal === undefined ? this.#abort.signal : AbortSignal.any([signal, this.#abort.signal]);
  }

  /** This gives the bytes of the part that begins at an offset, if there is one, as they come: they end where it ends, or where it failed. Meanwhile more parts begin. */
  take(offset: number): AsyncIterable<Uint8Array> | undefined {
    const part = this.#parts.get(offset);
    this.#parts.delete(offset);
    return part && this.#read(part);
  }

  async *#read(part: Part): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of part.read()) {
      yield chunk;
      this.fill(0);
    }
  }

  /** This returns what to read in one piece: all up to the next part, or only as much as a part when there is room for others behind it. */
  stretchFrom(from: number): Stretch {
    const to = this.limitFrom(from);
    return { from, to: this.#hasRoom() ? Math.min(to, from + this.#settings.bytes) : to };
  }

  /** This returns where the next part begins, the end of all where there is none. */
  limitFrom(offset: number): number {
    return Math.min(this.#size, ...[...this.#parts.keys()].filter((start) => start > offset));
  }

  /** This begins as many parts as there is room for, none before an offset. */
  fill(from: number): void {
    this.#next = Math.max(this.#next, from);
    while (this.#next < this.#size && this.#failed < MAX_FAILED) {
      const stretch = { from: this.#next, to: Math.min(this.#next + this.#settings.bytes, this.#size) };
      const turn = this.#settings.requests.tryAcquire();
      const memory = turn && this.#settings.memory.tryTake(stretch.to - stretch.from);
      if (memory === undefined) {
        turn?.[Symbol.dispose]();
        return;
      }
      const part = new Part(memory);
      this.#parts.set(stretch.from, part);
      this.#next = stretch.to;
      const running = this.#run(stretch, part, turn).finally(() => this.#running.delete(running));
      this.#running.add(running);
    }
  }

  /** No more parts: the server does not give any. */
  stop(): void {
    this.#failed = MAX_FAILED;
  }

  #hasRoom(): boolean {
    using room = this.#failed < MAX_FAILED ? this.#settings.requests.tryAcquire() : undefined;
    return room !== undefined;
  }

  async #run(stretch: Stretch, part: Part, turn: Disposable | undefined): Promise<void> {
    using _turn = turn;
    let left = stretch.to - stretch.from;
    try {
      const body = await this.#open(stretch, { signal: this.#signal });
      if (body === undefined) this.stop();
      for await (const chunk of body ?? []) {
        const wanted = chunk.subarray(0, left);
        left -= wanted.length;
        part.add(wanted);
        // The end itself is read too: it leaves the connection for others.
        if (wanted.length < chunk.length) break;
      }
    } catch {
      // Whoever reads on finds out why, by asking for what is missing.
    } finally {
      if (left > 0) this.#failed += 1;
      part.end();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    await Promise.all(this.#running);
    for (const part of this.#parts.values()) part.drop();
    this.#parts.clear();
  }
}

/** What has come of a part, and is yet to be read. */
class Part {
  readonly #memory: Disposable;
  readonly #chunks = new ChunkQueue();
  #hasEnded = false;
  #changed = Promise.withResolvers<void>();

  constructor(memory: Disposable) {
    this.#memory = memory;
  }

  add(chunk: Uint8Array): void {
    this.#chunks.push(chunk);
    this.#notify();
  }

  end(): void {
    this.#hasEnded = true;
    this.#notify();
  }

  drop(): void {
    this.#chunks.clear();
    this.#memory[Symbol.dispose]();
  }

  async *read(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for (;;) {
        const chunk = this.#chunks.shift();
        if (chunk !== undefined) yield chunk;
        else if (this.#hasEnded) return;
        else await this.#changed.promise;
      }
    } finally {
      this.drop();
    }
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}
