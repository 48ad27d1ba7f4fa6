import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  WriteAction,
  type WriteContentRequest,
  type WriteContentResponse,
  WriteContentResponseSchema,
} from "@berth/api/containerd/services/content/v1/content";
import type { CallOptions } from "@berth/core/any";
import type { ContentStore, ContentWriter } from "@berth/core/content";
import { fromProtoLabels } from "@berth/core/labels";
import { alreadyExists, ignoreNotFound, invalidArgument, isAlreadyExists, outOfRange, unknown } from "@berth/errors";
import { type Digest, parseDigest } from "@berth/oci";

type Answer = MessageInitShape<typeof WriteContentResponseSchema>;

/** What the messages of one stream have told so far; a later one overrides. */
interface Expectations {
  readonly total: number;
  readonly expected: Digest | undefined;
}

/**
 * This runs one Write stream: the first message opens the writer, each message is answered, a commit ends the stream.
 * On a good end the last answer is sent once more, as containerd does and its clients may count on.
 *
 * @see containerd plugins/services/content/contentserver/contentserver.go, Write
 */
export async function* handleWrite(
  store: ContentStore,
  requests: AsyncIterable<WriteContentRequest>,
  options: CallOptions,
): AsyncIterable<WriteContentResponse> {
  const { signal } = options;
  let session: WriteSession | undefined;
  try {
    for await (const request of requests) {
      session ??= await WriteSession.open(store, request, { signal });
      yield await session.answer(request, { signal });
      if (request.action === WriteAction.COMMIT) break;
    }
    if (session === undefined) throw unknown("write: the stream ended before its first message");
    // Whoever has read the last answer may open the ref again at once.
    await session[Symbol.asyncDispose]();
    yield session.lastAnswer();
  } finally {
    await session?.[Symbol.asyncDispose]();
  }
}

class WriteSession implements AsyncDisposable {
  readonly #store: ContentStore;
  #writer: ContentWriter;
  readonly #ref: string;
  #told: Expectations;
  /** Fields that an answer does not set keep the value of an earlier one. */
  #last: Answer = {};

  private constructor(store: ContentStore, writer: ContentWriter, ref: string, told: Expectations) {
    this.#store = store;
    this.#writer = writer;
    this.#ref = ref;
    this.#told = told;
  }

  static async open(store: ContentStore, first: WriteContentRequest, options: CallOptions): Promise<WriteSession> {
    const { ref } = first;
    if (ref === "") throw invalidArgument("first message must have a reference");
    const told = expectationsOf(first, { total: 0, expected: undefined });
    const { expected, total } = told;
    const known = expected === undefined ? {} : { expected };
    return new WriteSession(store, await store.writer(ref, { ...options, ...known, total }), ref, told);
  }

  async answer(request: WriteContentRequest, options: CallOptions): Promise<WriteContentResponse> {
    const before = await this.#writer.status(options);
    this.#last = { ...this.#last, action: request.action, offset: BigInt(before.offset) };
    this.#told = expectationsOf(request, this.#told);
    if (request.expected !== "") await this.#refuseExisting(options);
    switch (request.action) {
      case WriteAction.STAT:
        this.#last = {
          ...this.#last,
          digest: await this.#writer.digest(options),
          startedAt: timestampFromMs(before.startedAt),
          updatedAt: timestampFromMs(before.updatedAt),
          total: BigInt(this.#told.total),
        };
        break;
      case WriteAction.WRITE:
      case WriteAction.COMMIT:
        await this.#take(request, before.offset, options);
        break;
      default: // containerd answers actions of the future without doing anything
    }
    return this.lastAnswer();
  }

  lastAnswer(): WriteContentResponse {
    return create(WriteContentResponseSchema, this.#last);
  }

  async #take(request: WriteContentRequest, current: number, options: CallOptions): Promise<void> {
    const { action, offset, data } = request;
    if (offset > 0n && offset !== BigInt(current)) {
      throw outOfRange(`write ref ${this.#ref}: offset ${offset} is not the current offset ${current}`);
    }
    if (offset < 0n) throw outOfRange(`write ref ${this.#ref}: offset ${offset} is negative`);
    const from = offset === 0n ? 0 : current;
    if (from !== current) await this.#writer.truncate(0, options);
    if (data.length > 0) await this.#writer.write(data, options);
    const digest =
      action === WriteAction.COMMIT ? await this.#commit(request, options) : await this.#writer.digest(options);
    this.#last = { ...this.#last, offset: BigInt(from + data.length), digest };
  }

  async #commit(request: WriteContentRequest, options: CallOptions): Promise<Digest> {
    const { total: size, expected } = this.#told;
    const known = expected === undefined ? {} : { digest: expected };
    const labels = fromProtoLabels(request.labels);
    return (await this.#writer.commit({ ...options, ...known, size, labels })).digest;
  }

  /** A blob that is there already ends the stream; nobody will resume its ingest. */
  async #refuseExisting(options: CallOptions): Promise<void> {
    const { expected } = this.#told;
    if (expected === undefined || !(await exists(this.#store, expected, options))) return;
    await this.#writer[Symbol.asyncDispose]();
    try {
      // Refused by the store, not by what was seen here: only then is the blob in the caller's lease, and stays.
      await using _gone = await this.#store.writer(this.#ref, { ...options, expected });
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
      await this.#store.abort(this.#ref, options).catch(ignoreNotFound);
      throw alreadyExists(`blob with expected digest ${expected} exists`);
    }
    this.#writer = await this.#store.writer(this.#ref, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer[Symbol.asyncDispose]();
  }
}

function expectationsOf(request: WriteContentRequest, before: Expectations): Expectations {
  if (request.total > BigInt(Number.MAX_SAFE_INTEGER)) throw invalidArgument(`total ${request.total} is out of range`);
  return {
    total: request.total > 0n ? Number(request.total) : before.total,
    expected: request.expected === "" ? before.expected : parseDigest(request.expected),
  };
}

async function exists(store: ContentStore, digest: Digest, options: CallOptions): Promise<boolean> {
  return (await store.info(digest, options).catch(ignoreNotFound)) !== undefined;
}
