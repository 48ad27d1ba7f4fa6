import { ProgressSchema } from "@berth/api/containerd/types/transfer/progress";
import type { Stream } from "@berth/core/streaming";
import { fromBinary } from "@bufbuild/protobuf";
import { expect, it } from "vitest";

import { ProgressSender } from "../src/progress-sender.ts";

it("a client that does not read gets the newest counts only, and holds nothing up", async () => {
  const sent: string[] = [];
  const open = Promise.withResolvers<void>();
  let closed = 0;
  const stream: Stream = {
    send: async ({ value }) => {
      const { event, name, progress } = fromBinary(ProgressSchema, value);
      await open.promise;
      sent.push(`${name} ${event} ${progress}`);
    },
    receive: async () => undefined,
    close: () => void (closed += 1),
  };
  const sender = new ProgressSender(stream);
  sender.send({ event: "waiting", name: "a" });
  for (let progress = 0; progress < 10_000; progress += 1) sender.send({ event: "downloading", name: "a", progress });
  await new Promise((resolve) => setTimeout(resolve, 400));
  for (let progress = 0; progress < 10_000; progress += 1) sender.send({ event: "downloading", name: "b", progress });
  sender.send({ event: "complete", name: "b" });
  open.resolve();
  await sender[Symbol.asyncDispose]();
  expect(sent).toEqual(["a waiting 0", "a downloading 9999", "b complete 0"]);
  expect(closed).toBe(1);
});
