import { AuthRequestSchema, AuthResponseSchema, AuthType } from "@berth/api/containerd/types/transfer/registry";
import { KeyedLock } from "@berth/core/keyed-lock";
import type { Stream } from "@berth/core/streaming";
import type { RegistryAccess } from "@berth/core/transfer";

import { packMessage, unpackMessage } from "./messages.ts";

/**
 * This asks the client for credentials, over a stream that it has opened, one host at a time.
 *
 * @see containerd core/transfer/registry/registry.go, credCallback
 */
export function streamCredentials(stream: Stream, reference: string): NonNullable<RegistryAccess["credentials"]> {
  const turns = new KeyedLock();
  return async (host, options = {}) => {
    using _turn = await turns.acquire("auth", options);
    await stream.send(packMessage(AuthRequestSchema, { host, reference }), options);
    const message = await stream.receive(options);
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
