import { join } from "node:path";

import { createSandboxControllerClient } from "@berth/client/sandbox-controller";
import { createUnixTransport } from "@berth/client/transport";
import { parseNamespace } from "@berth/core/namespaces";
import type { SandboxController } from "@berth/core/sandbox-controller";
import { codeName, codeOf, notFound } from "@berth/errors";
import { createRpcServer, serviceRoute } from "@berth/rpc";
import { Controller, createSandboxControllersService } from "@berth/sandbox/service";
import { startBerthd, temporaryDirectory } from "@berth/testing";
import { expect, it } from "vitest";

const namespace = parseNamespace("pods");

/** A controller that only remembers what it was asked. */
function recordingController(asked: unknown[][]): SandboxController {
  const note = (...call: unknown[]): void => void asked.push(call);
  return {
    create: async (where, { id, runtime }, { netnsPath, annotations, rootfs }) =>
      note("create", where, id, runtime.name, netnsPath, [...annotations], rootfs),
    start: async (where, id) => {
      note("start", where, id);
      return { id, pid: 42, createdAtNs: 5n, address: "ttrpc+unix:///s", version: 3 };
    },
    platform: async () => ({ os: "linux", architecture: "arm64", variant: "v8" }),
    stop: async (where, id, options) => note("stop", where, id, options?.timeoutSeconds),
    wait: async () => ({ exitStatus: 9, exitedAtNs: 1_500_000_007n }),
    status: async (_, id, options) => ({
      id,
      pid: 42,
      state: options?.verbose === true ? "SANDBOX_READY" : "quiet",
      info: new Map([["__proto__", "kept"]]),
      createdAtNs: 5n,
      exitedAtNs: 0n,
      address: "",
      version: 3,
    }),
    shutdown: async (_, id) => {
      throw notFound(`sandbox ${id}`);
    },
    metrics: async (_, id) => ({ id, timestampNs: 7n, data: { typeUrl: "m", value: Uint8Array.of(1) } }),
    update: async (where, id, _sandbox, { fields }) => note("update", where, id, fields),
  };
}

it("a controller of another process answers for the sandboxes of a daemon", { timeout: 60_000 }, async () => {
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(await temporaryDirectory("sandbox-proxy")).path;
  const address = join(directory, "controller.sock");
  const asked: unknown[][] = [];
  const controllers = new Map([["boxes", recordingController(asked)]]);
  const events = { publish: async () => {} };
  const routes = [serviceRoute(Controller, createSandboxControllersService({ controllers, events }))];
  const server = stack.use(createRpcServer({ routes }));
  await server.listen({ path: address });
  const config = `[proxy_plugins.boxes]\n  type = "sandbox"\n  address = ${JSON.stringify(address)}\n`;
  const daemon = stack.use(await startBerthd({ config }));
  const transport = createUnixTransport({ path: daemon.address });
  stack.defer(() => transport.close());
  const controller = createSandboxControllerClient(transport, "boxes");

  const sandbox = { id: "s", labels: new Map(), runtime: { name: "r.v1" }, sandboxer: "boxes", extensions: new Map() };
  const rootfs = [{ type: "bind", source: "/a", target: "", options: ["ro"] }];
  await controller.create(namespace, sandbox, { rootfs, netnsPath: "/n", annotations: new Map([["a", "b"]]) });
  expect(await controller.start(namespace, "s")).toEqual({
    id: "s",
    pid: 42,
    createdAtNs: 5n,
    address: "ttrpc+unix:///s",
    version: 3,
  });
  expect(await controller.platform(namespace, "s")).toEqual({ os: "linux", architecture: "arm64", variant: "v8" });
  const status = await controller.status(namespace, "s", { verbose: true });
  expect(status).toMatchObject({ state: "SANDBOX_READY", pid: 42, createdAtNs: 5n, exitedAtNs: 0n });
  expect([...status.info]).toEqual([["__proto__", "kept"]]);
  expect(await controller.metrics(namespace, "s")).toMatchObject({ id: "s", timestampNs: 7n, data: { typeUrl: "m" } });
  await controller.update(namespace, "s", sandbox, { fields: ["labels"] });
  await controller.stop(namespace, "s", { timeoutSeconds: 3 });
  expect(await controller.wait(namespace, "s")).toEqual({ exitStatus: 9, exitedAtNs: 1_500_000_007n });
  const refused = await controller.shutdown(namespace, "s").catch((error: unknown) => codeName(codeOf(error)));
  expect(refused).toBe("not_found");
  expect(asked).toEqual([
    ["create", "pods", "s", "r.v1", "/n", [["a", "b"]], [expect.objectContaining(rootfs[0] ?? {})]],
    ["start", "pods", "s"],
    ["update", "pods", "s", ["labels"]],
    ["stop", "pods", "s", 3],
  ]);
});
