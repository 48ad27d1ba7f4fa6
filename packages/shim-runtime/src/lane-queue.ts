/** How a {@link LaneQueue} works. */
export interface LaneQueueOptions<T> {
  /** Items that wait or are worked on, over all lanes. */
  readonly limit: number;
  /** Works on one item. Must not reject. */
  readonly process: (item: T) => Promise<void>;
  /** The oldest of those that wait had to make room; the newcomer where none waits. */
  readonly onDrop: (item: T) => void;
}

interface Entry<T> {
  readonly lane: string;
  readonly item: T;
}

/** Works on items one after the other within a lane, and on different lanes at the same time. */
export class LaneQueue<T> {
  readonly #options: LaneQueueOptions<T>;
  /** In the order of arrival. */
  readonly #waiting = new Set<Entry<T>>();
  /** Lanes that are being worked on, with what waits in each. */
  readonly #lanes = new Map<string, Entry<T>[]>();
  #idle: PromiseWithResolvers<void> | undefined;

  constructor(options: LaneQueueOptions<T>) {
    this.#options = options;
  }

  push(lane: string, item: T): void {
    const busy = this.#lanes.get(lane);
    const isFull = this.#waiting.size + this.#lanes.size >= this.#options.limit;
    if (isFull && !this.#dropOldest()) {
      this.#options.onDrop(item);
      return;
    }
    if (!busy) {
      this.#lanes.set(lane, []);
      void this.#work(lane, item);
      return;
    }
    const entry = { lane, item };
    busy.push(entry);
    this.#waiting.add(entry);
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
      if (!next) break;
      this.#waiting.delete(next);
      ({ item } = next);
    }
    this.#lanes.delete(lane);
    if (this.#lanes.size > 0) return;
    this.#idle?.resolve();
    this.#idle = undefined;
  }

  #dropOldest(): boolean {
    const [oldest] = this.#waiting;
    if (!oldest) return false;
    this.#waiting.delete(oldest);
    // the oldest of all is the first of its lane
    this.#lanes.get(oldest.lane)?.shift();
    this.#options.onDrop(oldest.item);
    return true;
  }
}
