import type { PluginType } from "./plugin-type.ts";

/** What a plugin wants from others; `T` is what it is given. Made by {@link one}, {@link all} and {@link optional}. */
export interface Requirement<T> {
  readonly type: PluginType<unknown>;
  readonly mode: "one" | "all" | "optional";
  /** Only the plugin of this id will do. */
  readonly id?: string;
  /** Never there at run time: it only carries `T`. */
  readonly value?: T;
}

/** Requirements by the name under which `init` receives them. */
export type Requirements = Readonly<Record<string, Requirement<unknown>>>;

/** What `init` receives for its requirements. */
export type Resolved<R extends Requirements> = {
  readonly [K in keyof R]: R[K] extends Requirement<infer T> ? T : never;
};

/**
 * This requires the only loaded plugin of a type, or the one of that id; without it, or where there are several, the plugin that asks
 * fails: which of them counts must not depend on an order.
 */
export function one<T>(type: PluginType<T>, id?: string): Requirement<T> {
  return { type, mode: "one", ...(id === undefined ? {} : { id }) };
}

/** This requires every loaded plugin of a type, by id and in the order of initialisation; none is fine. */
export function all<T>(type: PluginType<T>): Requirement<ReadonlyMap<string, T>> {
  return { type, mode: "all" };
}

/** This takes the only loaded plugin of a type, or the one of that id, if there is one; several make the plugin that asks fail. */
export function optional<T>(type: PluginType<T>, id?: string): Requirement<T | undefined> {
  return { type, mode: "optional", ...(id === undefined ? {} : { id }) };
}
