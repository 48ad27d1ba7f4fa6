/** So many removed keys are remembered, beyond as many as there are keys. */
const MAX_REMOVED = 1024;

/** Keys in byte order. Changes cost nothing until somebody asks for the order, and then no more than they must. */
export class KeyOrder {
  /** In order; may hold keys of {@link KeyOrder.#removed}. */
  #sorted: readonly string[] = [];
  /** In no order; may hold keys of {@link KeyOrder.#removed} as well. No key is in both. */
  #added: string[] = [];
  readonly #removed = new Set<string>();

  /** This adds a key that is not there. */
  add(key: string): void {
    if (!this.#removed.delete(key)) this.#added.push(key);
  }

  /** This removes a key that is there. */
  delete(key: string): void {
    this.#removed.add(key);
    // Where keys come and go and nobody asks for their order.
    if (this.#removed.size > MAX_REMOVED && this.#removed.size > (this.#sorted.length + this.#added.length) / 2) {
      this.#dropRemoved();
    }
  }

  keys(): readonly string[] {
    if (this.#removed.size > 0) this.#dropRemoved();
    if (this.#added.length > 0) {
      this.#sorted = merge(this.#sorted, this.#added.sort(compareBytes));
      this.#added = [];
    }
    return this.#sorted;
  }

  #dropRemoved(): void {
    const stays = (key: string): boolean => !this.#removed.has(key);
    this.#sorted = this.#sorted.filter(stays);
    this.#added = this.#added.filter(stays);
    this.#removed.clear();
  }
}

/** Both in order; few of the second among many of the first. */
function merge(many: readonly string[], few: readonly string[]): string[] {
  const result: string[] = [];
  let taken = 0;
  for (const key of few) {
    const end = firstAfter(many, key, taken);
    for (; taken < end; taken++) result.push(many[taken] ?? "");
    result.push(key);
  }
  for (; taken < many.length; taken++) result.push(many[taken] ?? "");
  return result;
}

/** The index of the first key from `start` on that comes after `key`. */
function firstAfter(keys: readonly string[], key: string, start: number): number {
  let low = start;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareBytes(keys[middle] ?? "", key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** This compares two strings as their UTF-8 bytes compare, which is how code points do, not UTF-16 units. */
export function compareBytes(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index++) {
    const left = a.charCodeAt(index);
    const right = b.charCodeAt(index);
    if (left !== right) return surrogatesLast(left) - surrogatesLast(right);
  }
  return a.length - b.length;
}

/** Surrogates stand for code points above all others, but their units lie below U+E000. */
function surrogatesLast(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}
