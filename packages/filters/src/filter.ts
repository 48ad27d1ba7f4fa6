/**
 * Gives the fields of an object to a filter.
 */
export interface Adaptor {
  /** This returns the value at a path such as `["labels", "a.b"]` or `["target", "digest"]`; `undefined` when there is none. */
  field(path: readonly string[]): string | undefined;
}

/** Says which objects are wanted. Immutable; matching takes time linear in the length of the values. */
export interface Filter {
  matches(adaptor: Adaptor): boolean;
}

/** Matches everything. */
export const matchAll: Filter = { matches: () => true };

/**
 * This makes an adaptor of named fields and label-like maps: `adapt({ name }, { labels })` answers `name` and `labels.<key>`.
 * Keys of maps may hold dots, in which case the filter may quote them or not.
 */
export function adapt(
  fields: Readonly<Record<string, string | undefined>>,
  maps: Readonly<Record<string, ReadonlyMap<string, string>>> = {},
): Adaptor {
  return {
    field(path) {
      const [first = "", ...rest] = path;
      if (Object.hasOwn(maps, first) && rest.length > 0) return maps[first]?.get(rest.join("."));
      const name = path.join(".");
      return Object.hasOwn(fields, name) ? fields[name] : undefined;
    },
  };
}
