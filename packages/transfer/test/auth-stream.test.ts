import type { Stream } from "@berth/core/streaming";
import { Code, codeOf } from "@berth/errors";
import { expect, it } from "vitest";

import { streamCredentials } from "../src/auth-stream.ts";

it("a client that does not tell credentials is not waited for for ever, nor asked again", async () => {
  let closed = 0;
  const stream: Stream = {
    send: async () => {},
    receive: ({ signal } = {}) =>
      new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason))),
    close: () => void (closed += 1),
  };
  const reason = await streamCredentials(stream, "e.org/a:1", 10)("e.org").catch((error: unknown) => error);
  expect({ code: codeOf(reason), closed }).toEqual({ code: Code.DeadlineExceeded, closed: 1 });
});
