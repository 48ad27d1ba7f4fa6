import { statSync } from "node:fs";

/** Tells a bundle from another one that has come to its path. */
export class BundleIdentity {
  readonly #path: string;
  readonly #identity: string | undefined;

  constructor(path: string) {
    this.#path = path;
    this.#identity = identityOf(path);
  }

  /** Whether the bundle was removed, whatever is at its path now. */
  get isGone(): boolean {
    return identityOf(this.#path) !== this.#identity;
  }
}

function identityOf(path: string): string | undefined {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  // not when it was made: where that is not known, a time is said that changes
  return stat && `${stat.dev}:${stat.ino}`;
}
