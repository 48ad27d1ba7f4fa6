import { resourceExhausted } from "@berth/errors";

/** Messages of one stream that wait for their reader; beyond it the connection is not read on. */
const MAX_QUEUED = 64;
const FULL_FOR_MS = 1000;

/** The connection side of a queue: told to stop and to go on. */
export interface QueueControl {
  pauseReading(reason: unknown): void;
  resumeReading(reason: unknown): void;
}

interface Waiter<T> {
  resolve(result: IteratorResult<T, undefined>): void;
  reject(error: Error): void;
}

/**
 * Messages received for one stream, in order, for one reader.
 *
 * A queue that is full stops the whole connection, since frames of other streams lie behind; when it is still full after a
 * second, the stream is given up with resource_exhausted and the connection goes on.
 */
export class MessageQueue<T> implements AsyncIterableIterator<T, undefined> {
  readonly #control: QueueControl;
  readonly #onReturn: () => void;
  readonly #onOverflow: (error: Error) => void;
  readonly #items: T[] = [];
  readonly #waiters: Waiter<T>[] = [];
  #state: "open" | "ended" | "closed" = "open";
  #error: Error | undefined;
  #fullTimer: NodeJS.Timeout | undefined;

  constructor(control: QueueControl, onReturn: () => void, onOverflow: (error: Error) => void) {
    this.#control = control;
    this.#onReturn = onReturn;
    this.#onOverflow = onOverflow;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  push(item: T): void {
    if (this.#state !== "open") return;
    const waiter = this.#waiters.shift();
    if (waiter !== undefined) {
      waiter.resolve({ done: false, value: item });
      return;
    }
    this.#items.push(item);
    if (this.#items.length >= MAX_QUEUED && this.#fullTimer === undefined) this.#becomeFull();
  }

  /** This says that no message follows; those queued are still read. */
  end(): void {
    if (this.#state !== "open") return;
    this.#state = "ended";
    for (const waiter of this.#waiters.splice(0)) waiter.resolve({ done: true, value: undefined });
  }

  /** This ends the queue with an error, after the messages that are queued. */
  fail(error: Error): void {
    if (this.#state !== "open") return;
    this.#state = "ended";
    this.#error = error;
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error);
  }

  /** This ends the queue with an error at once: messages that are queued are dropped. */
  abort(error: Error): void {
    this.fail(error);
    this.#error ??= error;
    this.#items.length = 0;
    this.#stopBeingFull();
  }

  next(): Promise<IteratorResult<T, undefined>> {
    if (this.#items.length > 0) {
      // Just checked: there is an item.
      const value = this.#items.shift() as T;
      if (this.#items.length < MAX_QUEUED) this.#stopBeingFull();
      return Promise.resolve({ done: false, value });
    }
    if (this.#error !== undefined) return Promise.reject(this.#error);
    if (this.#state !== "open") return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  return(): Promise<IteratorResult<T, undefined>> {
    const wasOpen = this.#state === "open";
    this.end();
    this.#state = "closed";
    this.#error = undefined;
    this.#items.length = 0;
    this.#stopBeingFull();
    if (wasOpen) this.#onReturn();
    return Promise.resolve({ done: true, value: undefined });
  }

  #becomeFull(): void {
    this.#control.pauseReading(this);
    this.#fullTimer = setTimeout(() => {
      const error = resourceExhausted(`stream buffer of ${MAX_QUEUED} messages is full`);
      this.#stopBeingFull();
      this.fail(error);
      this.#onOverflow(error);
    }, FULL_FOR_MS);
  }

  #stopBeingFull(): void {
    if (this.#fullTimer === undefined) return;
    clearTimeout(this.#fullTimer);
    this.#fullTimer = undefined;
    this.#control.resumeReading(this);
  }
}
