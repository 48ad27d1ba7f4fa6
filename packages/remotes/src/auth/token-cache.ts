import { isDeadlineExceeded } from "@berth/errors";

import type { Token } from "./fetch-token.ts";

/** Each blob of an image needs a token, and would wait anew for a server that gives none. */
const LATE_KEPT_MS = 30_000;

interface Entry {
  readonly promise: Promise<Token>;
  /** Of a token that is there. */
  value?: string;
  /** Of a token that is there, or that did not come in time; unknown while it is fetched. */
  expiresAt: number;
}

/** Tokens by what they are for. Whoever asks for one that is being fetched gets the same; of failures only one to come in time is kept, for a while. */
export class TokenCache {
  readonly #entries = new Map<string, Entry>();

  /** This returns a token that is not over yet, by `fetch` if there is none. */
  get(key: string, fetch: () => Promise<Token>): Promise<Token> {
    const known = this.#entries.get(key);
    if (known !== undefined && known.expiresAt > Date.now()) return known.promise;
    const entry: Entry = { promise: fetch(), expiresAt: Infinity };
    this.#entries.set(key, entry);
    entry.promise.then(
      ({ expiresAt, value }) => {
        entry.expiresAt = expiresAt;
        entry.value = value;
      },
      (error: unknown) => {
        if (isDeadlineExceeded(error)) entry.expiresAt = Date.now() + LATE_KEPT_MS;
        else this.#forget(key, entry);
      },
    );
    return entry.promise;
  }

  /** This makes the next call fetch a new one, unless that has happened since the token was used: others may have been refused with it too. */
  drop(key: string, value: string): void {
    if (this.#entries.get(key)?.value === value) this.#entries.delete(key);
  }

  #forget(key: string, entry: Entry): void {
    if (this.#entries.get(key) === entry) this.#entries.delete(key);
  }
}
