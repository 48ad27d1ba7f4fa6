declare const instance: unique symbol;

/** The type of a plugin: containerd's name for it, and in the type system what its plugins give to those that require them. */
export interface PluginType<T> {
  readonly name: string;
  /** Never there at run time: it only carries `T`. */
  readonly [instance]?: T;
}

/** This names a plugin type. Two types of the same name are the same type. */
export function pluginType<T>(name: string): PluginType<T> {
  return { name };
}

/** This is how configuration, introspection and logs call a plugin: `<type>.<id>`. */
export function pluginUri(type: { readonly name: string }, id: string): string {
  return `${type.name}.${id}`;
}
