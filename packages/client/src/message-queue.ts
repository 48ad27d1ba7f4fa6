/** The sending half of a stream: messages are pushed one by one, and `end` half-closes it. */
export class MessageQueue<T> implements AsyncIterable<T> {
  readonly #messages: T[] = [];
  #wake: (() => void) | undefined;
  #ended = false;

  /** This hands a message to the transport; after the end it is dropped. */
  push(message: T): void {
    if (!this.#ended) this.#messages.push(message);
    this.#wake?.();
  }

  /** This tells the peer that nothing follows. Safe to call twice. */
  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<T> {
    for (;;) {
      const message = this.#messages.shift();
      if (message !== undefined) {
        yield message;
        continue;
      }
      if (this.#ended) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
    }
  }
}
