import { join } from "node:path";

import { TaskOOMSchema } from "@berth/api/containerd/events/task";
import { Events } from "@berth/api/containerd/services/events/ttrpc/v1/events";
import { silentLogger } from "@berth/core/log";
import { unavailable } from "@berth/errors";
import { fromBinary } from "@bufbuild/protobuf";
import { temporaryDirectory, type TemporaryDirectory } from "@berth/testing";
import { createTtrpcServer, ttrpcNamespaceOf, ttrpcService, type TtrpcServer } from "@berth/ttrpc";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import { Publisher } from "./publisher.ts";

describe("Publisher", () => {
  let directory: TemporaryDirectory;
  let path: string;
  let received: string[];
  let failures: number;
  beforeEach(async () => {
    directory = await temporaryDirectory("publisher");
    path = join(directory.path, "events.ttrpc");
    [received, failures] = [[], 0];
  });
  afterEach(() => directory[Symbol.asyncDispose]());

  const serve = async (): Promise<TtrpcServer> => {
    const server = createTtrpcServer({
      services: [
        ttrpcService(Events, {
          forward: async ({ envelope }, context) => {
            if ((failures -= 1) >= 0) throw unavailable("busy");
            const { containerId } = fromBinary(TaskOOMSchema, envelope?.event?.value ?? new Uint8Array());
            // longer for the first ones: an unordered publisher would overtake
            await new Promise((resolve) => setTimeout(resolve, Math.max(0, 20 - received.length * 5)));
            received.push(`${ttrpcNamespaceOf(context)} ${envelope?.namespace} ${envelope?.topic} ${containerId}`);
            return {};
          },
        }),
      ],
    });
    await server.listen({ path });
    return server;
  };
  const open = (): Publisher => new Publisher({ address: path, namespace: "ns", log: silentLogger });
  const publish = (publisher: Publisher, ids: readonly string[]): void => {
    for (const containerId of ids) publisher.publish("/tasks/oom", TaskOOMSchema, { containerId });
  };
  const line = (id: string): string => `ns ns /tasks/oom ${id}`;

  it("keeps the order", async () => {
    await using _server = await serve();
    await using publisher = open();
    const ids = ["a", "b", "c", "d", "e"];
    publish(publisher, ids);
    await publisher.flush(5000);
    expect(received).toEqual(ids.map(line));
  });

  it("sends again what was refused, before what came after it", async () => {
    failures = 1;
    await using _server = await serve();
    await using publisher = open();
    publish(publisher, ["a", "b"]);
    await publisher.flush(5000);
    expect(received).toEqual(["a", "b"].map(line));
  });

  it("waits for a daemon that comes back", async () => {
    await using publisher = open();
    publish(publisher, ["a"]);
    await new Promise((resolve) => setTimeout(resolve, 100));
    await using _server = await serve();
    publish(publisher, ["b"]);
    await publisher.flush(5000);
    expect(received).toEqual(["a", "b"].map(line));
  });

  it("drops everything without an address", async () => {
    await using publisher = new Publisher({ address: "", namespace: "ns", log: silentLogger });
    publish(publisher, ["a"]);
    await publisher.flush(10);
    expect(received).toEqual([]);
  });
});
