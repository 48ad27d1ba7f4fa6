import { connect } from "node:net";

import { Leases } from "@berth/api/containerd/services/leases/v1/leases";
import { Code, codeOf, messageOf } from "@berth/errors";
import { createClient, createUnixTransport } from "@berth/rpc/client";
import type { PeerDaemon } from "@berth/testing";
import { startBerthd, startContainerd } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { badInput } from "./bad-input.ts";

/** Answers of 1.6.20 that are others: 2.x has those of berth; or berth has a reason. */
const NOT_IN_1_6 = new Set([
  "a layer of an unknown type",
  "an image without a size",
  "a bad filter",
  "a field of a namespace that cannot change",
]);
/** It checks a pointer to the spec that is never nil. */
const NOT_IN_2 = new Set(["a container without a spec"]);

describe.each([
  ["berthd", () => startBerthd(), new Set<string>()],
  ["Debian's containerd 1.6", () => startContainerd(), NOT_IN_1_6],
  ["Debian's containerd 2", () => startContainerd({ release: "2" }), NOT_IN_2],
])("bad input to %s", (name, start, without) => {
  const stack = new AsyncDisposableStack();
  let daemon: PeerDaemon;
  beforeAll(async () => {
    daemon = stack.use(await start());
    await using transport = createUnixTransport({ path: daemon.address, namespace: "default" });
    await createClient(Leases, transport).create({ id: "bad-input" });
  });
  afterAll(() => stack.disposeAsync());

  const relevant = badInput.filter(([what]) => !without.has(what));
  const rows = relevant.map(([what, call, code, names, options]) => ({
    what,
    call,
    code,
    names,
    namespace: options?.namespace,
  }));
  it.each(rows)("$what", async ({ what, call, code, names, namespace = "default" }) => {
    await using transport = createUnixTransport({ path: daemon.address, ...(namespace === "" ? {} : { namespace }) });
    const error: unknown = await call(transport).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeDefined();
    if (what !== "a layer of an unknown type") expect(Code[codeOf(error)]).toBe(Code[code]);
    if (name === "berthd") expect(messageOf(error)).toContain(names);
  });

  it("survives bytes that are no protocol", async () => {
    for (const garbage of [
      "GET / HTTP/1.1\r\n\r\n",
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\xff".repeat(64),
      "\0".repeat(4096),
      "x",
    ]) {
      const socket = connect(daemon.address);
      socket.on("error", () => {});
      socket.end(Buffer.from(garbage, "latin1"));
      await new Promise((resolve) => socket.once("close", resolve).resume());
    }
    expect((await daemon.ctr(["version"])).code).toBe(0);
  });

  it("has lost nothing and left nothing behind", async () => {
    expect((await daemon.ctr(["content", "ls", "-q"])).stdout).toBe("");
    expect((await daemon.ctr(["container", "ls", "-q"])).stdout).toBe("");
    expect((await daemon.ctr(["snapshots", "ls"])).stdout.trim().split("\n")).toHaveLength(1);
    expect((await daemon.ctr(["image", "ls", "-q"])).stdout).toBe("");
  });
});
