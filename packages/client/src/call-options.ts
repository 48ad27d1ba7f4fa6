import type { CallOptions as WireCallOptions } from "@connectrpc/connect";
import type { CallOptions } from "@berth/core/any";

/** This makes Connect's call options of ours; `namespace` replaces the one that the transport adds. */
export function callOptions(options: CallOptions | undefined, namespace?: string): WireCallOptions {
  return {
    ...(options?.signal === undefined ? {} : { signal: options.signal }),
    ...(namespace === undefined ? {} : { headers: { "containerd-namespace": namespace } }),
  };
}
