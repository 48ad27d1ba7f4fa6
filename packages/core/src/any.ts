/**
 * A value whose meaning its type URL tells: protobuf bytes, or JSON for containerd's `types.containerd.io/…` URLs.
 *
 * containerd writes the bare message name, without `type.googleapis.com/`; berth does so too and compares what follows the last `/` of protobuf URLs.
 */
export interface AnyValue {
  readonly typeUrl: string;
  readonly value: Uint8Array;
}

/** Options that every call takes that can wait. */
export interface CallOptions {
  /** Cancels the call: it rejects, and leaves no temporary file, mount or process behind. */
  readonly signal?: AbortSignal | undefined;
}
