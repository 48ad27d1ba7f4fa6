import { Streaming } from "@berth/api/containerd/services/streaming/v1/streaming";
import type { CallOptions } from "@berth/core/any";
import { raceSignal } from "@berth/core/race-signal";
import type { ClientStream, StreamSource } from "@berth/core/streaming";
import { alreadyExists, invalidArgument, resourceExhausted } from "@berth/errors";
import type { ServiceImpl } from "@connectrpc/connect";

import { serveStream } from "./serve-stream.ts";
import type { ServiceStream } from "./service-stream.ts";

export { Streaming };

/** Streams that nobody has claimed yet; a process has three. */
const MAX_UNCLAIMED = 1024;

/**
 * Streams of clients for whoever claims them by name, before or after they come: for a process that serves one namespace. A name is free
 * again when its stream is over, so that a client which was lost can come back.
 */
export class ClaimedStreams implements StreamSource {
  readonly service: ServiceImpl<typeof Streaming>;
  readonly #streams = new Map<string, ServiceStream>();
  readonly #unclaimed = new Set<string>();
  readonly #claims = new Map<string, PromiseWithResolvers<ServiceStream>>();

  constructor({ initTimeoutMs }: { readonly initTimeoutMs?: number } = {}) {
    const register = (id: string, stream: ServiceStream): void => this.#register(id, stream);
    const unregister = (id: string, stream: ServiceStream): void => this.#unregister(id, stream);
    this.service = {
      stream: (messages, { signal }) => serveStream(messages, { signal, initTimeoutMs, register, unregister }),
    };
  }

  async claim(id: string, { signal }: CallOptions = {}): Promise<ClientStream> {
    signal?.throwIfAborted();
    const there = this.#streams.get(id);
    if (there !== undefined && this.#unclaimed.delete(id)) return there;
    if (there !== undefined || this.#claims.has(id)) throw alreadyExists(`claim of stream ${JSON.stringify(id)}`);
    const claim = Promise.withResolvers<ServiceStream>();
    this.#claims.set(id, claim);
    try {
      return await raceSignal(claim.promise, signal);
    } catch (error) {
      if (this.#claims.get(id) === claim) this.#claims.delete(id);
      // it came at the moment at which nobody wanted it any more
      void claim.promise.then((stream) => stream.close());
      throw error;
    }
  }

  #register(id: string, stream: ServiceStream): void {
    if (id === "") throw invalidArgument("stream id must not be empty");
    if (this.#streams.has(id)) throw alreadyExists(`stream ${JSON.stringify(id)}`);
    const claim = this.#claims.get(id);
    if (claim === undefined && this.#unclaimed.size >= MAX_UNCLAIMED)
      throw resourceExhausted(`${MAX_UNCLAIMED} streams wait for a process already`);
    this.#streams.set(id, stream);
    this.#claims.delete(id);
    if (claim === undefined) this.#unclaimed.add(id);
    else claim.resolve(stream);
  }

  #unregister(id: string, stream: ServiceStream): void {
    if (this.#streams.get(id) !== stream) return;
    this.#streams.delete(id);
    this.#unclaimed.delete(id);
  }
}
