import type { AnyValue } from "@berth/core/any";

type Extensions = ReadonlyMap<string, AnyValue>;

/** This adds the extensions of a change, or the one named: they are only ever added to, as containerd's database does it. */
export function mergeExtensions(current: Extensions, change: Extensions, key: string | undefined): Extensions {
  if (key === undefined) return new Map([...current, ...change]);
  const value = change.get(key);
  return value === undefined ? current : new Map([...current, [key, value]]);
}
