const RESERVATION_MS = 60_000;

/** When a shim ends. */
export interface LifetimeOptions {
  /** A pool ignores requests to shut down. */
  readonly pool: boolean;
  readonly maxContainers: number;
  /** How long it stays without containers. */
  readonly lingerMs: number;
  /** How many containers are there. */
  readonly size: () => number;
  /** Whether a container for which a place is kept is among them already. */
  readonly isCounted?: ((id: string) => boolean) | undefined;
}

/**
 * Decides how many containers a shim takes and when it ends: never while one is there or about to come, at once when it
 * is told to (unless it is a pool), and by itself after a while without any, so that none stays for ever.
 */
export class Lifetime implements Disposable {
  readonly #options: LifetimeOptions;
  readonly #reservations = new Map<string, NodeJS.Timeout>();
  readonly #end = Promise.withResolvers<void>();
  #linger: NodeJS.Timeout | undefined;
  #ended = false;

  constructor(options: LifetimeOptions) {
    this.#options = options;
    this.changed();
  }

  /** Resolves when the shim shall end. */
  get ended(): Promise<void> {
    return this.#end.promise;
  }

  /** Whether it ends, and nothing may come any more. */
  get isEnding(): boolean {
    return this.#ended;
  }

  /** This keeps a place for a container; `false` when there is none, or the end is near. */
  reserve(id: string): boolean {
    if (this.#ended) return false;
    const known = this.#reservations.get(id);
    if (!known && this.#occupied() >= this.#options.maxContainers) return false;
    clearTimeout(known);
    this.#reservations.set(
      id,
      setTimeout(() => this.release(id), RESERVATION_MS),
    );
    this.changed();
    return true;
  }

  /** This gives up the place kept for a container: it is there, or it failed. */
  release(id: string): void {
    clearTimeout(this.#reservations.get(id));
    this.#reservations.delete(id);
    this.changed();
  }

  /** To be called whenever a container has come or gone. */
  changed(): void {
    clearTimeout(this.#linger);
    if (this.#ended || this.#occupied() > 0) return;
    this.#linger = setTimeout(() => this.end(), this.#options.lingerMs);
  }

  /** The daemon needs this shim no more, as far as it knows. */
  requestShutdown(): void {
    if (!this.#options.pool && this.#occupied() === 0) this.end();
  }

  /** This ends it whatever is there. */
  end(): void {
    this.#ended = true;
    this[Symbol.dispose]();
    this.#end.resolve();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#linger);
    for (const timer of this.#reservations.values()) clearTimeout(timer);
    this.#reservations.clear();
  }

  #occupied(): number {
    const { size, isCounted } = this.#options;
    const coming = isCounted ? [...this.#reservations.keys()].filter((id) => !isCounted(id)) : [...this.#reservations];
    return size() + coming.length;
  }
}
