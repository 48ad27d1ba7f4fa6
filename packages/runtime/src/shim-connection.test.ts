import { Task as TaskV2 } from "@berth/api/containerd/task/v2/task";
import { Task as TaskV3 } from "@berth/api/containerd/task/v3/task";
import { parseNamespace } from "@berth/core/namespaces";
import { silentLogger } from "@berth/core/log";
import { codeName, codeOf, unimplemented } from "@berth/errors";
import { temporaryDirectory } from "@berth/testing";
import { createTtrpcServer } from "@berth/ttrpc";
import type { DescMessage } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";

import { ShimConnections } from "./shim-connection.ts";

const shape = (message: DescMessage): string[] =>
  message.fields.map((field) => {
    const inner = field.message?.typeName.replace("task.v2", "task.v3") ?? "";
    return [field.number, field.name, field.fieldKind, field.scalar ?? "", inner, field.enum?.typeName ?? ""].join(" ");
  });

it("versions 2 and 3 of the task API have the same messages", () => {
  expect(TaskV2.methods.map(({ name }) => name)).toEqual(TaskV3.methods.map(({ name }) => name));
  for (const [index, method] of TaskV2.methods.entries()) {
    const newer = TaskV3.methods[index];
    expect(newer && shape(newer.input)).toEqual(shape(method.input));
    expect(newer && shape(newer.output)).toEqual(shape(method.output));
  }
});

describe("ShimConnections", () => {
  const namespace = parseNamespace("n");
  const limits = { timeoutMs: 2000 };

  async function setUp() {
    const stack = new AsyncDisposableStack();
    const { path } = stack.use(await temporaryDirectory("shim-connection"));
    const server = stack.use(createTtrpcServer());
    const address = `unix://${path}/s`;
    stack.use(await server.listen(address));
    const connections = new ShimConnections(silentLogger);
    return { server, address, connections, [Symbol.asyncDispose]: () => stack.disposeAsync() };
  }

  it("falls back to version 2 once, and stays there", async () => {
    await using test = await setUp();
    test.server.register(TaskV2, { connect: async () => ({ shimPid: 7 }) });
    const endpoint = { version: 3, address: test.address, protocol: "ttrpc" } as const;
    await using connection = await test.connections.connect(endpoint, namespace, 1000);
    for (let turn = 0; turn < 2; turn++) {
      expect((await connection.call((tasks, rpc) => tasks.connect({}, rpc), limits)).shimPid).toBe(7);
    }
    test.server.register(TaskV3, { connect: async () => ({ shimPid: 8 }) });
    expect((await connection.call((tasks, rpc) => tasks.connect({}, rpc), limits)).shimPid).toBe(7);
  });

  it("does not fall back for a single method that version 3 lacks", async () => {
    await using test = await setUp();
    test.server.register(TaskV3, {
      connect: async () => ({ shimPid: 7 }),
      pause: () => Promise.reject(unimplemented("no")),
    });
    test.server.register(TaskV2, { pause: async () => ({}) });
    const endpoint = { version: 3, address: test.address, protocol: "ttrpc" } as const;
    await using connection = await test.connections.connect(endpoint, namespace, 1000);
    await connection.call((tasks, rpc) => tasks.connect({}, rpc), limits);
    const error: unknown = await connection
      .call((tasks, rpc) => tasks.pause({}, rpc), limits)
      .catch((thrown: unknown) => thrown);
    expect(codeName(codeOf(error))).toBe("unimplemented");
  });

  it("shares one connection until its last holder lets go", async () => {
    await using test = await setUp();
    test.server.register(TaskV3, { connect: async () => ({ shimPid: 7 }) });
    const endpoint = { version: 3, address: test.address, protocol: "ttrpc" } as const;
    const first = await test.connections.connect(endpoint, namespace, 1000);
    const second = await test.connections.connect(endpoint, namespace, 1000);
    expect(second).toBe(first);
    expect(test.server.connectionCount).toBe(1);
    await first[Symbol.asyncDispose]();
    expect((await second.call((tasks, rpc) => tasks.connect({}, rpc), limits)).shimPid).toBe(7);
    await second[Symbol.asyncDispose]();
    expect(second.isClosed).toBe(true);
    await using third = await test.connections.connect(endpoint, namespace, 1000);
    expect(third).not.toBe(first);
  });

  it("dials anew after a start: who serves the old connection may be ending", async () => {
    await using test = await setUp();
    test.server.register(TaskV3, { connect: async () => ({ shimPid: 7 }) });
    const endpoint = { version: 3, address: test.address, protocol: "ttrpc" } as const;
    await using old = await test.connections.connect(endpoint, namespace, 1000);
    await using fresh = await test.connections.connect(endpoint, namespace, 1000, { fresh: true });
    expect(fresh).not.toBe(old);
    await using shared = await test.connections.connect(endpoint, namespace, 1000);
    expect(shared).toBe(fresh);
    expect(old.isClosed).toBe(false);
  });

  it("keeps a connection that its holders have let go of, until the shim ends or it is disposed", async () => {
    await using test = await setUp();
    test.server.register(TaskV3, { connect: async () => ({ shimPid: 7 }) });
    const endpoint = { version: 3, address: test.address, protocol: "ttrpc" } as const;
    const first = await test.connections.connect(endpoint, namespace, 1000);
    test.connections.keep(first);
    test.connections.keep(first);
    await first[Symbol.asyncDispose]();
    expect(first.isClosed).toBe(false);
    const second = await test.connections.connect(endpoint, namespace, 1000);
    expect(second).toBe(first);
    await second[Symbol.asyncDispose]();
    await test.connections[Symbol.asyncDispose]();
    expect(first.isClosed).toBe(true);
    await using third = await test.connections.connect(endpoint, namespace, 1000);
    await test.server.close();
    await third.closed;
  });

  it("tells who listens of its end, once, and not who listens no more", async () => {
    await using test = await setUp();
    const endpoint = { version: 3, address: test.address, protocol: "ttrpc" } as const;
    await using connection = await test.connections.connect(endpoint, namespace, 1000);
    const told: string[] = [];
    connection.onClosed(() => told.push("stays"));
    connection.onClosed(() => told.push("leaves"))[Symbol.dispose]();
    expect(told).toEqual([]);
    await test.server.close();
    await connection.closed;
    connection.onClosed(() => told.push("comes late"));
    connection.onClosed(() => told.push("comes late, and leaves"))[Symbol.dispose]();
    await new Promise((resolve) => setImmediate(resolve));
    expect(told).toEqual(["stays", "comes late"]);
  });

  it.each([
    ["nobody there", "unix:///nowhere/s", "unavailable"],
    ["another transport", "vsock://2:1024", "unimplemented"],
  ])("connect with %s is %s", async (_, address, code) => {
    const connections = new ShimConnections(silentLogger);
    const endpoint = { version: 3, address, protocol: "ttrpc" } as const;
    const error: unknown = await connections.connect(endpoint, namespace, 500).catch((thrown: unknown) => thrown);
    expect(codeName(codeOf(error))).toBe(code);
  });
});
