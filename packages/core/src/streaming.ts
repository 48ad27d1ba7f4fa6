import type { AnyValue, CallOptions } from "./any.ts";
import type { Namespace } from "./namespaces.ts";

/**
 * A stream between a client and the daemon, of messages both ways. One side of it: what one side sends the other receives, in order.
 */
export interface Stream {
  /** This waits while the other side has much to read. @throws unavailable - the stream is over */
  send(message: AnyValue, options?: CallOptions): Promise<void>;
  /** This resolves with the next message, or `undefined` when the other side has ended. @throws the error that the stream broke with */
  receive(options?: CallOptions): Promise<AnyValue | undefined>;
  /** This ends the stream for both sides; once is enough. */
  close(): void;
}

/** The stream of a client, seen from where it has come in. */
export interface ClientStream extends Stream {
  /** The client went without having ended the stream: it may come again. */
  readonly isLost: boolean;
}

/** Streams of clients, for a process of which there is one namespace. */
export interface StreamSource {
  /**
   * This resolves with the stream of this name as soon as a client has opened it. Who claims a stream has it alone; when it is over, one
   * that comes later under the same name can be claimed.
   *
   * @throws already_exists - the stream, or the next one, is claimed
   */
  claim(id: string, options?: CallOptions): Promise<ClientStream>;
}

/**
 * The streams that clients have opened, by namespace and id, for services whose requests name them.
 *
 * @see containerd core/streaming/streaming.go, StreamManager
 */
export interface StreamManager {
  /** @throws not_found */
  get(namespace: Namespace, id: string): Stream;
}

/** Where clients' streams come in. */
export interface StreamRegistry {
  /**
   * This makes a stream known under its id. One with a lease lives no longer than the lease, but for references.
   *
   * @throws already_exists - a stream has this id
   * @throws invalid_argument - the id is empty
   */
  register(namespace: Namespace, id: string, stream: Stream, options?: { readonly lease?: string | undefined }): void;
  /** This forgets a stream that is over, if it still goes by this name. */
  unregister(namespace: Namespace, id: string, stream: Stream): void;
}
