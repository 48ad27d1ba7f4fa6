import { Streaming } from "@berth/api/containerd/services/streaming/v1/streaming";
import {
  AuthRequestSchema,
  AuthResponseSchema,
  AuthType,
  OCIRegistrySchema,
} from "@berth/api/containerd/types/transfer/registry";
import { packMessage, unpackMessage } from "@berth/core/messages";
import { DEFAULT_NAMESPACE, parseNamespace } from "@berth/core/namespaces";
import type { Credentials } from "@berth/remotes";
import { createRouterTransport } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";

import { Client } from "./client.ts";
import { openRegistryEnd } from "./registry-end.ts";

describe("openRegistryEnd", () => {
  it.each<[string, Credentials | undefined, AuthType, string, string]>([
    ["no credentials", undefined, AuthType.NONE, "", ""],
    ["name and secret", { username: "me", secret: "word" }, AuthType.CREDENTIALS, "me", "word"],
    ["a refresh token", { username: "", secret: "token" }, AuthType.REFRESH, "", "token"],
    ["a header", { username: "", secret: "", header: "Bearer b" }, AuthType.HEADER, "", "Bearer b"],
    [
      "a header before all else",
      { username: "me", secret: "word", header: "Basic b" },
      AuthType.HEADER,
      "me",
      "Basic b",
    ],
  ])("the daemon is told %s", async (_, credentials, authType, username, secret) => {
    const { promise: answer, resolve } = Promise.withResolvers<unknown>();
    const transport = createRouterTransport(({ service }) => {
      service(Streaming, {
        async *stream(incoming) {
          const messages = incoming[Symbol.asyncIterator]();
          await messages.next();
          yield { typeUrl: "google.protobuf.Empty", value: new Uint8Array() };
          yield packMessage(AuthRequestSchema, { host: "example.org", reference: "example.org/a:1" });
          const next = await messages.next();
          if (next.done !== true) resolve(unpackMessage(AuthResponseSchema, next.value));
        },
      });
    });
    const client = new Client(transport, parseNamespace(DEFAULT_NAMESPACE));
    const asked: string[] = [];
    using end = await openRegistryEnd(client, "example.org/a:1", {
      credentials: async (host) => {
        asked.push(host);
        return credentials;
      },
    });
    expect(await answer).toMatchObject({ authType, username, secret });
    expect(asked).toEqual(["example.org"]);
    expect(unpackMessage(OCIRegistrySchema, end.value).reference).toBe("example.org/a:1");
  });
});
