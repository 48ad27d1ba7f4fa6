import type { Transport } from "@connectrpc/connect";

/** What a scope adds to each call that does not say otherwise itself. */
export interface Scope {
  readonly namespace?: string;
  readonly lease?: string;
}

/** This makes a transport that shares `transport`'s connection and makes its calls in another namespace or lease. */
export function scopedTransport(transport: Transport, scope: Scope): Transport {
  const headers = (given: ConstructorParameters<typeof Headers>[0]): Headers => {
    const result = new Headers(given);
    if (scope.namespace !== undefined && !result.has("containerd-namespace")) {
      result.set("containerd-namespace", scope.namespace);
    }
    if (scope.lease !== undefined && !result.has("containerd-lease")) result.set("containerd-lease", scope.lease);
    return result;
  };
  return {
    unary: (method, signal, timeoutMs, header, input, contextValues) =>
      transport.unary(method, signal, timeoutMs, headers(header), input, contextValues),
    stream: (method, signal, timeoutMs, header, input, contextValues) =>
      transport.stream(method, signal, timeoutMs, headers(header), input, contextValues),
  };
}
