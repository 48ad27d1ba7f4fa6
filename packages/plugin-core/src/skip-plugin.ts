/** Thrown by a plugin that cannot work on this machine; see {@link skipPlugin}. */
export class SkipPluginError extends Error {
  override readonly name = "SkipPluginError";
}

/** This makes the error for a plugin that the machine lacks something for; the text ends like containerd's: `…: skip plugin`. */
export function skipPlugin(reason: string, options?: { readonly cause?: unknown }): SkipPluginError {
  return new SkipPluginError(`${reason}: skip plugin`, options);
}
