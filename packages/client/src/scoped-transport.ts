import type { Transport } from "@connectrpc/connect";

/** What a scope adds to each call that does not say otherwise itself. */
export interface Scope {
  readonly namespace?: string;
  readonly lease?: string;
}

/** This makes a transport that shares `transport`'s connection and makes its calls in another namespace or lease. */
export function scopedTransport(transport: Transport, scope: Scope): Transport {
  const own: [name: string, value: string][] = [];
  if (scope.namespace !== undefined) own.push(["containerd-namespace", scope.namespace]);
  if (scope.lease !== undefined) own.push(["containerd-lease", scope.lease]);
  // No `Headers` is made: the first one of a process loads the whole of `fetch`.
  const headers = (given: HeadersInit | undefined): [name: string, value: string][] => {
    const pairs = given === undefined ? [] : pairsOf(given);
    const named = new Set(pairs.map(([name]) => name.toLowerCase()));
    return [...pairs, ...own.filter(([name]) => !named.has(name))];
  };
  return {
    unary: (method, signal, timeoutMs, header, input, contextValues) =>
      transport.unary(method, signal, timeoutMs, headers(header), input, contextValues),
    stream: (method, signal, timeoutMs, header, input, contextValues) =>
      transport.stream(method, signal, timeoutMs, headers(header), input, contextValues),
  };
}

type HeadersInit = NonNullable<ConstructorParameters<typeof Headers>[0]>;

function pairsOf(given: HeadersInit): [name: string, value: string][] {
  // Both forms that can be iterated are lists of pairs.
  const pairs = Symbol.iterator in given ? [...(given as Iterable<readonly [string, string]>)] : Object.entries(given);
  return pairs.map(([name, value]) => [name, String(value)]);
}
