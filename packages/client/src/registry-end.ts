import {
  AuthRequestSchema,
  AuthResponseSchema,
  AuthType,
  OCIRegistrySchema,
} from "@berth/api/containerd/types/transfer/registry";
import type { AnyValue, CallOptions } from "@berth/core/any";
import { packMessage, unpackMessage } from "@berth/core/messages";
import type { CredentialSource, Credentials } from "@berth/remotes";
import type { MessageInitShape } from "@bufbuild/protobuf";

import type { Client } from "./client.ts";
import type { OpenStream } from "./open-stream.ts";
import { openStream } from "./open-stream.ts";

/** How the daemon is to reach a registry. */
export interface RegistryEndOptions extends CallOptions {
  /** Asked when the registry wants to know who asks. */
  readonly credentials?: CredentialSource;
  /** Directory with a directory for each registry, on the daemon's machine. */
  readonly hostDirectory?: string;
  readonly plainHttp?: boolean;
}

/** A registry as one end of a transfer, until it is disposed. */
export interface RegistryEnd extends Disposable {
  readonly value: AnyValue;
  /** Aborted when credentials that the daemon waits for cannot be had, with the reason. */
  readonly failed: AbortSignal;
}

/** This makes an end of a transfer of a reference; while it is open, the daemon is told the credentials that it asks for. */
export async function openRegistryEnd(
  { transport }: Client,
  reference: string,
  { credentials, hostDirectory = "", plainHttp = false, signal }: RegistryEndOptions,
): Promise<RegistryEnd> {
  const auth = credentials && (await openStream(transport, { signal }));
  const failed = new AbortController();
  // It ends with its stream, of whose failures the call tells.
  if (auth !== undefined && credentials !== undefined) void answer(auth, credentials, failed).catch(() => {});
  const resolver = { authStream: auth?.id ?? "", hostDir: hostDirectory, defaultScheme: plainHttp ? "http" : "" };
  return {
    value: packMessage(OCIRegistrySchema, { reference, resolver }),
    failed: failed.signal,
    [Symbol.dispose]: () => auth?.[Symbol.dispose](),
  };
}

async function answer(stream: OpenStream, credentials: CredentialSource, failed: AbortController): Promise<void> {
  for await (const request of stream.messages) {
    try {
      const { host } = unpackMessage(AuthRequestSchema, request);
      stream.send(packMessage(AuthResponseSchema, responseOf(await credentials(host))));
    } catch (error) {
      // The daemon would wait for them.
      failed.abort(error);
      return;
    }
  }
}

function responseOf(known: Credentials | undefined): MessageInitShape<typeof AuthResponseSchema> {
  if (known === undefined) return { authType: AuthType.NONE };
  const { username, secret, header = "" } = known;
  // The header goes before all else, as in `RegistryClient`; its place on the wire is that of the secret.
  if (header !== "") return { authType: AuthType.HEADER, username, secret: header };
  return { authType: username === "" ? AuthType.REFRESH : AuthType.CREDENTIALS, username, secret };
}
