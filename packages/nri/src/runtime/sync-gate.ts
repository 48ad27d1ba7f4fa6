import type { CallOptions } from "@berth/core/any";
import { raceSignal } from "@berth/core/race-signal";

/** Many who keep something from happening, or one for whom it happens. Who waits to be that one lets in no more of the many. */
export class SyncGate {
  #holders = 0;
  #empty: PromiseWithResolvers<void> | undefined;
  #closed: PromiseWithResolvers<void> | undefined;

  /** This waits until nothing happens, and lets nothing happen until the result is disposed. */
  async hold({ signal }: CallOptions = {}): Promise<Disposable> {
    while (this.#closed !== undefined) await raceSignal(this.#closed.promise, signal);
    this.#holders += 1;
    return once(() => {
      this.#holders -= 1;
      if (this.#holders === 0) this.#empty?.resolve();
    });
  }

  /** This waits until nobody holds it, and keeps everybody out until the result is disposed. */
  async close(): Promise<Disposable> {
    while (this.#closed !== undefined) await this.#closed.promise;
    const closed = Promise.withResolvers<void>();
    this.#closed = closed;
    if (this.#holders > 0) {
      this.#empty = Promise.withResolvers<void>();
      await this.#empty.promise;
      this.#empty = undefined;
    }
    return once(() => {
      this.#closed = undefined;
      closed.resolve();
    });
  }
}

function once(action: () => void): Disposable {
  using stack = new DisposableStack();
  stack.defer(action);
  return stack.move();
}
