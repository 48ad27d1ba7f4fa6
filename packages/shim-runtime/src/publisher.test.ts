import { join } from "node:path";

import { TaskOOMSchema, TaskStartSchema } from "@berth/api/containerd/events/task";
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
  let pids: number[];
  let times: string[];
  let failures: number;
  /** The container whose events are refused. */
  let refused: string;
  beforeEach(async () => {
    directory = await temporaryDirectory("publisher");
    path = join(directory.path, "events.ttrpc");
    [received, pids, times, failures, refused] = [[], [], [], 0, ""];
  });
  afterEach(() => directory[Symbol.asyncDispose]());

  const serve = async (): Promise<TtrpcServer> => {
    const server = createTtrpcServer({
      services: [
        ttrpcService(Events, {
          forward: async ({ envelope }, context) => {
            if ((failures -= 1) >= 0) throw unavailable("busy");
            times.push(`${envelope?.timestamp?.seconds}.${envelope?.timestamp?.nanos}`);
            const value = envelope?.event?.value ?? new Uint8Array();
            const { containerId } = fromBinary(TaskOOMSchema, value);
            if (containerId === refused) throw unavailable("refused");
            // longer for the first ones: an unordered publisher would overtake
            await new Promise((resolve) => setTimeout(resolve, Math.max(0, 20 - received.length * 5)));
            if (envelope?.topic === "/tasks/start") pids.push(fromBinary(TaskStartSchema, value).pid);
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
    const counted = Array.from({ length: 5 }, (_, pid) => pid);
    for (const pid of counted) publisher.publish("/tasks/start", TaskStartSchema, { containerId: "a", pid });
    await publisher.flush(5000);
    expect(pids).toEqual(counted);
  });

  it("no two events are of the same time, whatever the clock says", async () => {
    await using _server = await serve();
    await using publisher = open();
    publish(publisher, ["a", "a", "b", "a"]);
    await publisher.flush(5000);
    expect(new Set(times).size).toBe(4);
  });

  it("sends again what was refused, before what came after it", async () => {
    failures = 1;
    await using _server = await serve();
    await using publisher = open();
    for (const pid of [1, 2]) publisher.publish("/tasks/start", TaskStartSchema, { containerId: "a", pid });
    await publisher.flush(5000);
    expect(pids).toEqual([1, 2]);
  });

  it("lets an event that keeps failing delay its own container alone", async () => {
    refused = "a";
    await using _server = await serve();
    await using publisher = open();
    publish(publisher, ["a", "b"]);
    publish(publisher, ["a", "c"]);
    await expect.poll(() => received, { timeout: 900 }).toEqual(["b", "c"].map(line));
    refused = "";
    await publisher.flush(5000);
    expect(received).toEqual(["b", "c", "a", "a"].map(line));
  });

  it("waits for a daemon that comes back", async () => {
    await using publisher = open();
    publish(publisher, ["a"]);
    await new Promise((resolve) => setTimeout(resolve, 100));
    await using _server = await serve();
    publish(publisher, ["b"]);
    await publisher.flush(5000);
    expect(received.toSorted()).toEqual(["a", "b"].map(line));
  });

  it("drops everything without an address", async () => {
    await using publisher = new Publisher({ address: "", namespace: "ns", log: silentLogger });
    publish(publisher, ["a"]);
    await publisher.flush(10);
    expect(received).toEqual([]);
  });
});
