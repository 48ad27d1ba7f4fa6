/**
 * This returns the namespace that a backend's key or ref belongs to: names are `<namespace>/<number>/<name>` where a client made
 * them. Calls of the collector about other names have none.
 *
 * A proxy may keep namespaces apart, as remote snapshotters do that ask the daemon for content: it is told the caller's, as by containerd.
 */
export function namespaceOfBackendName(name: string): string | undefined {
  return /^([A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*)\/[1-9]\d*\//.exec(name)?.[1];
}
