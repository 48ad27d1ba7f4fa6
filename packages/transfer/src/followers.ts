import type { Digest } from "@berth/oci";

/**
 * Says which downloads are unpacked while they come. One that is followed holds memory, and a place
 * among the layers of its image also while a slow registry sends nothing, so that only so many are at once, in all pulls together: one place
 * is always left for layers that are there. The others begin when their blob is complete, or when another download has ended.
 */
export class Followers {
  #free: number;
  readonly #waiting = new Set<() => void>();

  constructor(limit: number) {
    this.#free = limit;
  }

  /** This makes the followers of one pull. */
  open(start: (digest: Digest) => void): PullFollowers {
    return new PullFollowers(this, start);
  }

  /** Gives a place now, or later by calling `take`; the result takes the wish back. */
  ask(take: () => void): () => void {
    if (this.#free > 0) {
      this.#free -= 1;
      take();
    } else {
      this.#waiting.add(take);
    }
    return () => void this.#waiting.delete(take);
  }

  giveBack(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#free += 1;
      return;
    }
    this.#waiting.delete(next);
    next();
  }
}

/** The downloads of one pull that are followed, or would like to be. */
export class PullFollowers implements Disposable {
  readonly #shared: Followers;
  readonly #start: (digest: Digest) => void;
  readonly #followed = new Set<Digest>();
  readonly #wishes = new Map<Digest, () => void>();

  constructor(shared: Followers, start: (digest: Digest) => void) {
    this.#shared = shared;
    this.#start = start;
  }

  /** A download has begun. */
  begun(digest: Digest): void {
    if (this.#followed.has(digest) || this.#wishes.has(digest)) return;
    const cancel = this.#shared.ask(() => {
      this.#followed.add(digest);
      this.#start(digest);
    });
    this.#wishes.set(digest, cancel);
  }

  /** A download has ended. */
  ended(digest: Digest): void {
    this.#wishes.get(digest)?.();
    this.#wishes.delete(digest);
    if (this.#followed.delete(digest)) this.#shared.giveBack();
  }

  [Symbol.dispose](): void {
    for (const digest of this.#wishes.keys()) this.ended(digest);
  }
}
