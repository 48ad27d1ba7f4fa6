import { AuthRequestSchema, AuthResponseSchema, AuthType } from "@berth/api/containerd/types/transfer/registry";
import type { AnyValue, CallOptions } from "@berth/core/any";
import { KeyedLock } from "@berth/core/keyed-lock";
import type { Stream } from "@berth/core/streaming";
import type { RegistryAccess } from "@berth/core/transfer";
import { deadlineExceeded } from "@berth/errors";

import { packMessage, unpackMessage } from "./messages.ts";

/** So long a client may take for credentials, whose helper may have to ask somebody. */
const ANSWER_TIMEOUT_MS = 120_000;

/**
 * This asks the client for credentials, over a stream that it has opened, one host at a time. Of one that does not answer in time the stream is closed: a late answer would be taken for
 * that to the next question.
 *
 * @throws deadline_exceeded - it does not
 * @see containerd core/transfer/registry/registry.go, credCallback
 */
export function streamCredentials(
  stream: Stream,
  reference: string,
  answerTimeoutMs: number = ANSWER_TIMEOUT_MS,
): NonNullable<RegistryAccess["credentials"]> {
  const turns = new KeyedLock();
  return async (host, options = {}) => {
    using _turn = await turns.acquire("auth", options);
    const timeout = AbortSignal.timeout(answerTimeoutMs);
    const signal = options.signal === undefined ? timeout : AbortSignal.any([options.signal, timeout]);
    const message = await ask(stream, packMessage(AuthRequestSchema, { host, reference }), { signal }).catch(
      (error: unknown) => {
        if (!timeout.aborted) throw error;
        stream.close();
        throw deadlineExceeded(`the client has not told credentials for ${host} in ${answerTimeoutMs / 1000} s`);
      },
    );
    // A client that has left has none.
    if (message === undefined) return undefined;
    const { authType, username, secret } = unpackMessage(AuthResponseSchema, message);
    // Clients that have no other way to say so say it like this.
    if (username === "" && secret === "") return undefined;
    if (authType === AuthType.CREDENTIALS) return { username, secret };
    if (authType === AuthType.REFRESH) return { username: "", secret };
    if (authType === AuthType.HEADER) return { username, secret: "", header: secret };
    return undefined;
  };
}

async function ask(stream: Stream, question: AnyValue, options: CallOptions): Promise<AnyValue | undefined> {
  await stream.send(question, options);
  return await stream.receive(options);
}
