import type { DeprecationLog, DeprecationWarning } from "@berth/core/introspection";
import type { Logger } from "@berth/core/log";

/**
 * This counts deprecated features in memory: one entry per id, with its latest message and time. The first use of each is logged.
 *
 * @see containerd plugins/services/warning
 */
export function createDeprecationLog(options: { readonly log: Logger; readonly now?: () => number }): DeprecationLog {
  const warnings = new Map<string, DeprecationWarning>();
  const now = options.now ?? Date.now;
  return {
    emit(id, message) {
      if (!warnings.has(id)) options.log.warn("deprecated feature in use", { id, reason: message });
      warnings.set(id, { id, message, lastOccurrence: now() });
    },
    list: () => [...warnings.values()].sort((a, b) => (a.id < b.id ? -1 : 1)),
  };
}
