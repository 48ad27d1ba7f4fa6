/** What `new Headers` takes; Node's types do not name it. */
export type HeadersInit = NonNullable<ConstructorParameters<typeof Headers>[0]>;

/**
 * This lists header names, in lower case, with their values. It makes no `Headers` of a plain object or list: the first
 * `Headers` of a process costs it 20 ms, since Node loads its whole `fetch` for it.
 */
export function headerPairs(init: HeadersInit): [name: string, value: string][] {
  const isIterable = Symbol.iterator in init;
  // Both remaining forms are lists of pairs: `Headers` and arrays iterate as such.
  const pairs = isIterable ? [...(init as Iterable<readonly [string, string]>)] : Object.entries(init);
  return pairs.map(([name, value]) => [name.toLowerCase(), String(value)]);
}
