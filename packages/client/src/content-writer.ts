import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Client } from "@connectrpc/connect";
import type { Content, WriteContentResponse } from "@berth/api/containerd/services/content/v1/content";
import { WriteAction, WriteContentRequestSchema } from "@berth/api/containerd/services/content/v1/content";
import type { CallOptions } from "@berth/core/any";
import type { CommitOptions, ContentInfo, ContentWriter, IngestStatus, WriterOptions } from "@berth/core/content";
import { toProtoLabels } from "@berth/core/labels";
import { fromProtoTimestamp } from "@berth/core/timestamp";
import { canceled, failedPrecondition, invalidArgument, unavailable } from "@berth/errors";
import type { Digest } from "@berth/oci";
import { digestAlgorithm, parseDigest } from "@berth/oci";
import { bulkMessage } from "@berth/rpc/client";

import { callOptions } from "./call-options.ts";
import { MessageQueue } from "./message-queue.ts";
import { fromProtoInt } from "./wire-values.ts";

type Request = MessageInitShape<typeof WriteContentRequestSchema>;

/** The store that a writer writes to. */
export interface WriteTarget {
  readonly client: Client<typeof Content>;
  /** Replaces the namespace of the transport. */
  readonly namespace: string | undefined;
  /** This answers for the blob that a commit makes. */
  info(digest: Digest, options?: CallOptions): Promise<ContentInfo>;
}

/** Bytes of one message: small enough for every peer's limit, large enough that the round trip does not count. */
const CHUNK_BYTES = 1 << 20;
/** How long the peer may take to let go of the ingest after the last message. */
const CLOSE_TIMEOUT_MS = 10_000;

/** So many chunks may be under way unanswered: the peer writes one while the next is made. */
const WINDOW_CHUNKS = 4;

/**
 * Writes an ingest over one Write stream. A few chunks may be unanswered at a time: that is the back-pressure. Their
 * failure is thrown by a later call, by the commit at the latest; every other call waits for all answers before it.
 */
export class RemoteContentWriter implements ContentWriter {
  readonly #ref: string;
  readonly #queue = new MessageQueue<Request>();
  readonly #cancel = new AbortController();
  readonly #answers: AsyncIterator<WriteContentResponse>;
  readonly #target: WriteTarget;
  readonly #expected: Digest | undefined;
  #offset = 0;
  #total = 0;
  #startedAt = 0;
  #updatedAt = 0;
  #closed = false;
  /** Of the bytes answered so far, as the peer told it. */
  #digest = "";
  readonly #unanswered: Promise<WriteContentResponse>[] = [];

  private constructor(target: WriteTarget, ref: string, expected: Digest | undefined) {
    this.#ref = ref;
    this.#expected = expected;
    this.#target = target;
    const { client, namespace } = target;
    const options = callOptions({ signal: this.#cancel.signal }, namespace);
    this.#answers = client.write(this.#queue, options)[Symbol.asyncIterator]();
  }

  /** This opens or resumes the ingest. */
  static async open(target: WriteTarget, ref: string, options: WriterOptions): Promise<RemoteContentWriter> {
    if (ref === "") throw invalidArgument("ref of an ingest must not be empty");
    const writer = new RemoteContentWriter(target, ref, options.expected);
    await using undo = new AsyncDisposableStack();
    undo.use(writer);
    const answer = await writer.#send(
      {
        action: WriteAction.STAT,
        ref,
        total: BigInt(options.total ?? 0),
        ...(options.expected === undefined ? {} : { expected: options.expected }),
      },
      options,
    );
    writer.#offset = fromProtoInt(answer.offset);
    writer.#total = fromProtoInt(answer.total) || (options.total ?? 0);
    writer.#startedAt = fromProtoTimestamp(answer.startedAt);
    writer.#updatedAt = fromProtoTimestamp(answer.updatedAt);
    undo.move();
    return writer;
  }

  async write(chunk: Uint8Array, options?: CallOptions): Promise<void> {
    this.#checkOpen();
    for (let start = 0; start < chunk.length; start += CHUNK_BYTES) {
      await this.#append(chunk.subarray(start, start + CHUNK_BYTES), options);
    }
  }

  async truncate(size: number, options?: CallOptions): Promise<void> {
    this.#checkOpen();
    if (size !== 0) throw invalidArgument(`truncate ${this.#ref}: only size 0 is supported, not ${size}`);
    if (this.#offset === 0) return;
    // A write at offset 0 while bytes are there drops them.
    await this.#send({ action: WriteAction.WRITE, offset: 0n }, options);
    this.#offset = 0;
    this.#updatedAt = Math.max(this.#startedAt, Date.now());
  }

  /** The peer is not asked: nobody else writes this ingest, and each of its answers tells offset and digest. */
  async status(options?: CallOptions): Promise<IngestStatus> {
    this.#checkOpen();
    this.#checkSignal(options);
    await this.#settle();
    return {
      ref: this.#ref,
      offset: this.#offset,
      total: this.#total,
      ...(this.#expected === undefined ? {} : { expected: this.#expected }),
      startedAt: this.#startedAt,
      updatedAt: this.#updatedAt,
    };
  }

  /** As with `status`, the peer is not asked. */
  async digest(options?: CallOptions): Promise<Digest> {
    this.#checkOpen();
    this.#checkSignal(options);
    await this.#settle();
    return parseDigest(this.#digest);
  }

  async commit(options: CommitOptions = {}): Promise<ContentInfo> {
    this.#checkOpen();
    let digest: Digest;
    try {
      await this.#settle();
      this.#verify(options);
      const answer = await this.#send(
        {
          action: WriteAction.COMMIT,
          offset: BigInt(this.#offset),
          total: BigInt(options.size ?? 0),
          ...(options.digest === undefined ? {} : { expected: options.digest }),
          ...(options.labels === undefined ? {} : { labels: toProtoLabels(options.labels) }),
        },
        options,
      );
      digest = parseDigest(answer.digest);
    } finally {
      await this[Symbol.asyncDispose]();
    }
    return this.#target.info(digest, options);
  }

  /** This half-closes the stream and waits until the peer has let go of the ingest, so that it can be opened again at once. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#queue.end();
    const timer = setTimeout(() => this.#cancel.abort(), CLOSE_TIMEOUT_MS);
    try {
      // The last answer comes twice: what is left is read to the end, so that the stream ends on its own.
      for (let next = await this.#answers.next(); next.done !== true; next = await this.#answers.next());
    } catch {
      // The outcome was already told by the call that failed; an ingest that is given up has none.
    } finally {
      clearTimeout(timer);
    }
  }

  async #append(chunk: Uint8Array, options: CallOptions | undefined): Promise<void> {
    this.#checkSignal(options);
    const head = { action: WriteAction.WRITE, offset: BigInt(this.#offset) };
    // The chunk is the caller's again when this resolves, which is before it is sent.
    const answer = this.#exchange(bulkMessage(WriteContentRequestSchema, head, "data", chunk), options);
    answer.catch(() => {});
    this.#unanswered.push(answer);
    this.#offset += chunk.length;
    this.#updatedAt = Math.max(this.#startedAt, Date.now());
    if (this.#unanswered.length >= WINDOW_CHUNKS) await this.#unanswered.shift();
  }

  async #send(request: Request, options: CallOptions | undefined): Promise<WriteContentResponse> {
    await this.#settle();
    return await this.#exchange(request, options);
  }

  /** This waits for the answers of all chunks under way, and throws the first failure among them. */
  async #settle(): Promise<void> {
    while (this.#unanswered.length > 0) await this.#unanswered.shift();
  }

  /**
   * The peer answers already_exists for a blob that it has before it looks at the bytes; whoever takes that for a proof that the
   * bytes were shown needs them compared here.
   */
  #verify({ size = 0, digest }: CommitOptions): void {
    if (size > 0 && size !== this.#offset) {
      throw failedPrecondition(`commit ${this.#ref}: unexpected size ${this.#offset}, expected ${size}`);
    }
    if (digest === undefined || this.#digest === "" || digest === this.#digest) return;
    if (digestAlgorithm(digest) !== digestAlgorithm(parseDigest(this.#digest))) return;
    throw failedPrecondition(`commit ${this.#ref}: unexpected digest ${this.#digest}, expected ${digest}`);
  }

  async #exchange(request: Request, options: CallOptions | undefined): Promise<WriteContentResponse> {
    this.#checkSignal(options);
    const signal = options?.signal;
    // A message that is under way cannot be taken back: aborting one ends the stream, the ingest stays.
    const onAbort = (): void => this.#cancel.abort(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      this.#queue.push(request);
      const answer = await this.#answers.next();
      if (answer.done === true) throw unavailable(`write ${this.#ref}: the peer ended the stream`);
      this.#digest = answer.value.digest || this.#digest;
      return answer.value;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  #checkSignal(options: CallOptions | undefined): void {
    const signal = options?.signal;
    if (signal?.aborted === true) throw canceled(`write ${this.#ref}: aborted`, { cause: signal.reason });
  }

  #checkOpen(): void {
    if (this.#closed) throw failedPrecondition(`ingest ${this.#ref} is committed or closed`);
  }
}
