/** How a {@link LaneQueue} works. */
export interface LaneQueueOptions<T> {
  /** Items that wait or are worked on, over all lanes. */
  readonly limit: number;
  /** Works on one item. Must not reject. */
  readonly process: (item: T) => Promise<void>;
  /** The oldest of the lane where most wait had to make room; the newcomer where none waits. */
  readonly onDrop: (item: T) => void;
}

/** Works on items one after the other within a lane, and on different lanes at the same time. */
export class LaneQueue<T extends NonNullable<unknown>> {
  readonly #options: LaneQueueOptions<T>;
  /** Lanes that are being worked on, with what waits in each. */
  readonly #lanes = new Map<string, T[]>();
  /** How many wait, over all lanes. */
  #waiting = 0;
  #idle: PromiseWithResolvers<void> | undefined;

  constructor(options: LaneQueueOptions<T>) {
    this.#options = options;
  }

  push(lane: string, item: T): void {
    const busy = this.#lanes.get(lane);
    const isFull = this.#waiting + this.#lanes.size >= this.#options.limit;
    if (isFull && !this.#makeRoom()) {
      this.#options.onDrop(item);
      return;
    }
    if (!busy) {
      this.#lanes.set(lane, []);
      void this.#work(lane, item);
      return;
    }
    busy.push(item);
    this.#waiting += 1;
  }

  /** This resolves when nothing waits and nothing is worked on. */
  async idle(): Promise<void> {
    if (this.#lanes.size === 0) return;
    this.#idle ??= Promise.withResolvers();
    await this.#idle.promise;
  }

  async #work(lane: string, first: T): Promise<void> {
    let item: T = first;
    for (;;) {
      await this.#options.process(item);
      const next = this.#lanes.get(lane)?.shift();
      if (next === undefined) break;
      this.#waiting -= 1;
      item = next;
    }
    this.#lanes.delete(lane);
    if (this.#lanes.size > 0) return;
    this.#idle?.resolve();
    this.#idle = undefined;
  }

  /** One lane that is full of news must not cost the others theirs. */
  #makeRoom(): boolean {
    let longest: T[] = [];
    for (const lane of this.#lanes.values()) if (lane.length > longest.length) longest = lane;
    const dropped = longest.shift();
    if (dropped === undefined) return false;
    this.#waiting -= 1;
    this.#options.onDrop(dropped);
    return true;
  }
}
