/** What `new Headers` takes; Node's types do not name it. */
export type HeadersInit = NonNullable<ConstructorParameters<typeof globalThis.Headers>[0]>;

/**
 * This lists header names, in lower case, with their values. It makes no `Headers` of a plain object or list: the first global one of a
 * process costs it 20 ms.
 */
export function headerPairs(init: HeadersInit): [name: string, value: string][] {
  // Both remaining forms are lists of pairs: `Headers` and arrays iterate as such.
  const pairs = Symbol.iterator in init ? [...(init as Iterable<readonly [string, string]>)] : Object.entries(init);
  return pairs.map(([name, value]) => [name.toLowerCase(), String(value)]);
}

/** A name is a token; a value has no control character that could end its line, and each character is a byte. */
const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
// oxlint-disable-next-line no-control-regex -- these are what a value must not have
const NO_VALUE = /[\0\r\n]|[^\0-\xFF]/;
const OUTER_SPACE = /^[\t\n\r ]+|[\t\n\r ]+$/g;

/**
 * This is the platform's `Headers` without the platform: the programs' bundles use it in place of the global one, and so do the packages in
 * them. The first global `Headers` of a process makes Node load its whole `fetch`, 13 MiB and 20 ms, and Connect makes one for each error.
 *
 * It differs from the standard in one way: an iteration goes over the headers as they were when it began.
 *
 * @throws TypeError - a name or value that no header can have
 */
export class Headers implements globalThis.Headers {
  /** By name in lower case. */
  readonly #values = new Map<string, string>();
  readonly #cookies: string[] = [];

  constructor(init: HeadersInit = {}) {
    const pairs = Symbol.iterator in init ? init : Object.entries(init);
    for (const pair of pairs) {
      const [name, value] = pair;
      if (pair.length !== 2 || name === undefined || value === undefined) {
        throw new TypeError("a header is a pair of a name and a value");
      }
      this.append(name, value);
    }
  }

  append(name: string, value: string): void {
    const key = parseName(name);
    const clean = parseValue(value);
    if (key === "set-cookie") {
      this.#cookies.push(clean);
      return;
    }
    const before = this.#values.get(key);
    this.#values.set(key, before === undefined ? clean : `${before}, ${clean}`);
  }

  delete(name: string): void {
    const key = parseName(name);
    this.#values.delete(key);
    if (key === "set-cookie") this.#cookies.length = 0;
  }

  get(name: string): string | null {
    const key = parseName(name);
    if (key === "set-cookie") return this.#cookies.length === 0 ? null : this.#cookies.join(", ");
    return this.#values.get(key) ?? null;
  }

  getSetCookie(): string[] {
    return [...this.#cookies];
  }

  has(name: string): boolean {
    const key = parseName(name);
    return key === "set-cookie" ? this.#cookies.length > 0 : this.#values.has(key);
  }

  set(name: string, value: string): void {
    const key = parseName(name);
    const clean = parseValue(value);
    if (key === "set-cookie") this.#cookies.splice(0, this.#cookies.length, clean);
    else this.#values.set(key, clean);
  }

  forEach(callback: (value: string, name: string, headers: globalThis.Headers) => void): void {
    for (const [name, value] of this) callback(value, name, this);
  }

  *keys(): Generator<string, undefined> {
    for (const [name] of this) yield name;
  }

  *values(): Generator<string, undefined> {
    for (const [, value] of this) yield value;
  }

  entries(): ArrayIterator<[string, string]> {
    const pairs = [...this.#values, ...this.#cookies.map((value): [string, string] => ["set-cookie", value])];
    return pairs.sort(([a], [b]) => (a < b ? -1 : Number(a > b))).values();
  }

  [Symbol.iterator](): ArrayIterator<[string, string]> {
    return this.entries();
  }
}

function parseName(name: string): string {
  if (!NAME.test(name)) throw new TypeError(`invalid name of a header: ${JSON.stringify(name)}`);
  return name.toLowerCase();
}

function parseValue(value: string): string {
  const clean = String(value).replaceAll(OUTER_SPACE, "");
  if (NO_VALUE.test(clean)) throw new TypeError(`invalid value of a header: ${JSON.stringify(clean)}`);
  return clean;
}
