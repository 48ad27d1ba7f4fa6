import type { CallOptions as WireCallOptions } from "@connectrpc/connect";
import type { CallOptions } from "@berth/core/any";

/** This makes Connect's call options of ours; `namespace` replaces the one that the transport adds. */
export function callOptions(options: CallOptions | undefined, namespace?: string): WireCallOptions {
  return {
    ...(options?.signal === undefined ? {} : { signal: options.signal }),
    ...(namespace === undefined ? {} : { headers: { "containerd-namespace": namespace } }),
  };
}

/** Options of clients that serve as the backend of another daemon, and there know no namespace of their own. */
export interface BackendOptions {
  /** The namespace in which a call about `name` is made: a key, or the ref of an ingest. `undefined` leaves it to the transport. */
  readonly namespaceOf?: (name: string) => string | undefined;
}
