/** A TOML table. */
export type Table = Readonly<Record<string, unknown>>;

/** Tables whose entries an import replaces as a whole. */
const REPLACED_PER_KEY = new Set(["stream_processors", "proxy_plugins", "timeouts"]);

/**
 * This lays the file `over` on `base`: values replace, lists are joined without doubles, tables are merged deeply, and the
 * entries of `stream_processors`, `proxy_plugins` and `timeouts` are replaced one by one. Empty values do not override.
 *
 * @see containerd cmd/containerd/server/config, mergeConfig
 */
export function mergeConfig(base: Table, over: Table): Table {
  return merge(base, over, []);
}

function merge(base: Table, over: Table, path: readonly string[]): Table {
  const result: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const merged = mergeValue(result[key], value, [...path, key]);
    Object.defineProperty(result, key, { value: merged, enumerable: true, writable: true, configurable: true });
  }
  return result;
}

function mergeValue(base: unknown, over: unknown, path: readonly string[]): unknown {
  if (base === undefined) return over;
  if (over === "" || over === 0) return base;
  if (Array.isArray(base) && Array.isArray(over)) return [...base, ...over.filter((entry) => !base.includes(entry))];
  if (!isTable(base) || !isTable(over)) return over;
  if (path.length === 1 && REPLACED_PER_KEY.has(path[0] ?? "")) return { ...base, ...over };
  return merge(base, over, path);
}

/** This narrows a TOML value to a table. */
export function isTable(value: unknown): value is Table {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}
