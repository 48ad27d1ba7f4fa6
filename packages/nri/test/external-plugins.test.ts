import { ContainerSchema, PodSandboxSchema } from "@berth/api/nri/pkg/api/v1alpha1/objects";
import { Event, Plugin, Runtime } from "@berth/api/nri/pkg/api/v1alpha1/plugin";
import type { NriDomain } from "@berth/core/nri";
import { Code, codeOf, failedPrecondition, internal, invalidArgument } from "@berth/errors";
import { createTtrpcServer, createTtrpcTransport, ttrpcService } from "@berth/ttrpc";
import { create } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { once } from "node:events";
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";

import type { LocalNri } from "../src/index.ts";
import { runNriPlugin } from "../src/stub.ts";
import { MuxConnection, Multiplexer } from "../src/wire/multiplexer.ts";
import { startNri } from "./nri-setup.ts";

const pod = create(PodSandboxSchema, { id: "p1", name: "pod" });
const container = create(ContainerSchema, { id: "c1", podSandboxId: "p1" });
const names = (nri: LocalNri): string[] => nri.plugins.map(({ index, name }) => `${index}-${name}`);
const codeFrom = (promise: Promise<unknown>): Promise<Code | "ok"> =>
  promise.then(
    () => "ok" as const,
    (error: unknown) => codeOf(error),
  );

function domain(overrides: Partial<NriDomain> = {}): NriDomain {
  return {
    namespace: "k8s.io",
    listPods: async () => [pod],
    listContainers: async () => [container],
    hasContainer: (id) => id === "c1",
    updateContainer: async () => {},
    evictContainer: async () => {},
    ...overrides,
  };
}

/** A plugin made by hand: it answers only what it is given. */
async function rawPlugin(socketPath: string, implementation: object, register: object = {}) {
  const { multiplexer, runtime } = await unregisteredPlugin(socketPath, implementation);
  const registration = runtime.registerPlugin({ pluginIdx: "50", pluginName: "raw", ...register });
  return { multiplexer, runtime, registration };
}

async function unregisteredPlugin(socketPath: string, implementation: object) {
  const socket = connect({ path: socketPath });
  await once(socket, "connect");
  const multiplexer = new Multiplexer(socket as Duplex);
  const server = createTtrpcServer({ services: [ttrpcService(Plugin, implementation)] });
  void server.serve(multiplexer.open(MuxConnection.plugin));
  const runtime = createClient(Runtime, createTtrpcTransport({ socket: multiplexer.open(MuxConnection.runtime) }));
  return { multiplexer, runtime };
}

describe("plugins from outside", () => {
  it("are told who the runtime is and what runs, in the order of their indices, and only of what they handle", async () => {
    await using setup = await startNri();
    const { nri, socketPath } = setup;
    using _domain = nri.addDomain(domain());
    const seen: string[] = [];
    const run = (index: string, extra: Parameters<typeof runNriPlugin>[0] = {}) =>
      runNriPlugin(
        {
          configure: ({ runtimeName, runtimeVersion }) => void seen.push(`${index} ${runtimeName} ${runtimeVersion}`),
          synchronize: (pods, containers) => void seen.push(`${index} ${pods[0]?.id} ${containers[0]?.id}`),
          createContainer: ({ container: created }) => {
            seen.push(`${index} create ${created?.id} ${created?.args}`);
            return { adjust: { args: [index] } };
          },
          ...extra,
        },
        { name: "test", index, socketPath },
      );
    await using _second = await run("20", { startContainer: () => void seen.push("20 start") });
    await expect.poll(() => names(nri)).toEqual(["20-test"]);
    await using _first = await run("10");
    await expect.poll(() => names(nri)).toEqual(["10-test", "20-test"]);
    expect(nri.plugins[0]).toMatchObject({ preInstalled: false, pid: process.pid });
    expect(seen).toEqual(["20 test 1.2.3", "20 p1 c1", "10 test 1.2.3", "10 p1 c1"]);
    seen.length = 0;
    const created = create(ContainerSchema, { id: "c2" });
    const answers: string[] = [];
    for await (const { plugin, response } of nri.relay("createContainer", { pod, container: created })) {
      answers.push(`${plugin} ${response.adjust?.args}`);
      created.args = response.adjust?.args ?? [];
    }
    expect(answers).toEqual(["10-test 10", "20-test 20"]);
    await nri.notify("startContainer", { pod, container: created });
    expect(seen).toEqual(["10 create c2 ", "20 create c2 10", "20 start"]);
  });

  it("may ask for changes at any time; those that fail and must not come back", async () => {
    await using setup = await startNri();
    const { nri, socketPath } = setup;
    await using plugin = await runNriPlugin({}, { name: "updater", index: "00", socketPath });
    const updates = [{ containerId: "c1" }, { containerId: "c1", ignoreFailure: true }, { containerId: "nobody's" }];
    expect(await plugin.updateContainers(updates)).toEqual([]);
    const done: string[] = [];
    using _domain = nri.addDomain(
      domain({
        updateContainer: async ({ containerId }) => {
          done.push(containerId);
          throw internal("no");
        },
        evictContainer: async ({ containerId, reason }) => void done.push(`${containerId} ${reason}`),
      }),
    );
    const failed = await plugin.updateContainers(updates, [{ containerId: "c1", reason: "because" }]);
    expect(failed.map(({ containerId }) => containerId)).toEqual(["c1"]);
    expect(done).toEqual(["c1", "c1", "c1 because"]);
    expect(() => nri.addDomain(domain())).toThrow();
  });

  it("are not obeyed before they take part", async () => {
    await using setup = await startNri();
    const { nri, socketPath } = setup;
    const done: string[] = [];
    using _domain = nri.addDomain(
      domain({ updateContainer: async ({ containerId }) => void done.push(`${containerId} ${names(nri)}`) }),
    );
    const raw = await unregisteredPlugin(socketPath, {});
    const update = [{ containerId: "c1" }];
    expect(await codeFrom(raw.runtime.updateContainers({ update }))).toBe(Code.FailedPrecondition);
    raw.multiplexer.close();
    const hold = await nri.holdSynchronization();
    await using plugin = await runNriPlugin({}, { name: "early", index: "00", socketPath });
    const asked = plugin.updateContainers(update);
    await using leaver = await runNriPlugin({}, { name: "leaver", index: "01", socketPath });
    const lost = codeFrom(leaver.updateContainers(update));
    await leaver[Symbol.asyncDispose]();
    expect(await lost).not.toBe("ok");
    // Time enough for what must not happen.
    await sleep(300);
    expect(done).toEqual([]);
    hold[Symbol.dispose]();
    expect(await asked).toEqual([]);
    expect(done).toEqual(["c1 00-early"]);
  });

  it("ask for changes in the order of events: not in the middle of one", async () => {
    await using setup = await startNri();
    const { nri, socketPath } = setup;
    const seen: string[] = [];
    using _domain = nri.addDomain(domain({ updateContainer: async () => void seen.push("updated") }));
    const [begun, release] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const startContainer = async (): Promise<void> => {
      begun.resolve();
      await release.promise;
      seen.push("told");
    };
    await using plugin = await runNriPlugin({ startContainer }, { name: "busy", index: "00", socketPath });
    await expect.poll(() => names(nri)).toEqual(["00-busy"]);
    const event = nri.notify("startContainer", { pod, container });
    await begun.promise;
    const asked = plugin.updateContainers([{ containerId: "c1" }]);
    // Time enough for what must not happen.
    await sleep(300);
    release.resolve();
    await Promise.all([event, asked]);
    expect(seen).toEqual(["told", "updated"]);
  });

  it("fail an event by throwing, and stay", async () => {
    await using setup = await startNri();
    const { nri, socketPath } = setup;
    const refuse = (): void => {
      throw failedPrecondition("not here");
    };
    const later: string[] = [];
    await using _plugin = await runNriPlugin({ runPodSandbox: refuse }, { name: "no", index: "01", socketPath });
    await using _after = await runNriPlugin(
      { runPodSandbox: () => void later.push("told") },
      { name: "after", index: "02", socketPath },
    );
    await expect.poll(() => names(nri)).toEqual(["01-no", "02-after"]);
    expect(await codeFrom(nri.notify("runPodSandbox", { pod }))).toBe(Code.FailedPrecondition);
    expect(later).toEqual([]);
    expect(names(nri).length).toBe(2);
  });

  it("that end are gone, and no error of an event", async () => {
    await using setup = await startNri();
    const { nri, socketPath } = setup;
    const raw = await rawPlugin(socketPath, {
      configure: () => ({}),
      synchronize: () => ({}),
      stopContainer: () => {
        raw.multiplexer.close();
        return new Promise(() => {});
      },
    });
    await raw.registration;
    await using last = await runNriPlugin({ stopContainer: () => ({}) }, { name: "last", index: "99", socketPath });
    await expect.poll(() => names(nri)).toEqual(["50-raw", "99-last"]);
    const answers = await Array.fromAsync(nri.relay("stopContainer", { pod, container }));
    expect(answers.map(({ plugin }) => plugin)).toEqual(["99-last"]);
    expect(names(nri)).toEqual(["99-last"]);
    await last[Symbol.asyncDispose]();
    await expect.poll(() => names(nri)).toEqual([]);
  });

  it("that do not answer in time are sent away; a validator that did not answer has not agreed", async () => {
    await using setup = await startNri({ requestTimeoutMs: 300 });
    const { nri, socketPath } = setup;
    const never = (): Promise<never> => new Promise(() => {});
    for (const event of ["startContainer", "validateContainerAdjustment"] as const) {
      await using plugin = await runNriPlugin({ [event]: never }, { name: "slow", index: "03", socketPath });
      await expect.poll(() => names(nri)).toEqual(["03-slow"]);
      const code = await codeFrom(nri.notify(event, { pod, container }));
      expect(code).toBe(event === "startContainer" ? "ok" : Code.DeadlineExceeded);
      await plugin.closed;
      expect(names(nri)).toEqual([]);
    }
  });

  it("without a call for an event are told by StateChange, or not at all", async () => {
    await using setup = await startNri();
    const { nri, socketPath } = setup;
    const changes: string[] = [];
    const raw = await rawPlugin(socketPath, {
      configure: () => ({ events: 0 }),
      synchronize: () => ({}),
      stateChange: (change: { event: Event; pod?: { id: string }; container?: { id: string } }) => {
        changes.push(`${change.event} ${change.pod?.id} ${change.container?.id}`);
        return {};
      },
    });
    await raw.registration;
    await expect.poll(() => names(nri)).toEqual(["50-raw"]);
    await nri.notify("runPodSandbox", { pod });
    await nri.notify("startContainer", { pod, container });
    await nri.notify("updatePodSandbox", { pod });
    expect(changes).toEqual([`${Event.RUN_POD_SANDBOX} p1 undefined`, `${Event.START_CONTAINER} p1 c1`]);
    expect(await codeFrom(nri.notify("validateContainerAdjustment", { pod }))).toBe(Code.Unimplemented);
  });

  it("are not told of what they did not ask for, though they have a call for it", async () => {
    await using setup = await startNri();
    const { nri, socketPath } = setup;
    const told: string[] = [];
    const raw = await rawPlugin(socketPath, {
      configure: () => ({ events: 1 << (Event.START_CONTAINER - 1) }),
      synchronize: () => ({}),
      startContainer: () => (told.push("start"), {}),
      stopContainer: () => (told.push("stop"), {}),
    });
    await raw.registration;
    await expect.poll(() => names(nri)).toEqual(["50-raw"]);
    await nri.notify("stopContainer", { pod, container });
    await nri.notify("startContainer", { pod, container });
    expect(told).toEqual(["start"]);
  });

  it("come into the order of events as a whole: what happens while they are brought up to date, they see after it", async () => {
    await using setup = await startNri();
    const { nri, socketPath } = setup;
    const seen: string[] = [];
    const hold = await nri.holdSynchronization();
    await using _plugin = await runNriPlugin(
      { synchronize: () => void seen.push("synchronized"), removeContainer: () => void seen.push("removed") },
      { name: "late", index: "00", socketPath },
    );
    // Time enough for what must not happen.
    await sleep(300);
    await nri.notify("removeContainer", { pod, container });
    expect([seen, names(nri)]).toEqual([[], []]);
    hold[Symbol.dispose]();
    await expect.poll(() => names(nri)).toEqual(["00-late"]);
    await nri.notify("removeContainer", { pod, container });
    expect(seen).toEqual(["synchronized", "removed"]);
  });

  it.each([
    ["a bad index", { pluginIdx: "1" }, {}],
    ["a bad name", { pluginName: "a b" }, {}],
  ])("with %s are refused", async (_, register, implementation) => {
    await using setup = await startNri();
    const raw = await rawPlugin(setup.socketPath, implementation, register);
    expect(await codeFrom(raw.registration)).toBe(Code.InvalidArgument);
    await raw.multiplexer.closed;
    expect(names(setup.nri)).toEqual([]);
  });

  it.each([
    ["refuses its configuration", { configure: () => Promise.reject(invalidArgument("bad")) }],
    ["wants events that there are not", { configure: () => ({ events: 1 << 20 }) }],
    ["cannot be synchronized", { configure: () => ({}) }],
  ])("is sent away when it %s", async (_, implementation) => {
    await using setup = await startNri();
    const raw = await rawPlugin(setup.socketPath, implementation);
    await raw.registration;
    await raw.multiplexer.closed;
    expect(names(setup.nri)).toEqual([]);
  });

  it("may not register twice", async () => {
    await using setup = await startNri();
    const raw = await rawPlugin(setup.socketPath, { configure: () => ({}), synchronize: () => ({}) });
    await raw.registration;
    expect(await codeFrom(raw.runtime.registerPlugin({ pluginIdx: "51", pluginName: "other" }))).toBe(
      Code.FailedPrecondition,
    );
  });

  it.each([
    ["says nothing", Buffer.alloc(0)],
    ["sends a frame that is too long", Buffer.from([0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff])],
    ["sends what is no ttrpc", Buffer.concat([Buffer.from([0, 0, 0, 2, 0, 0, 0, 10]), Buffer.alloc(10, 0xee)])],
  ])("is sent away when it %s instead of registering", async (_, bytes) => {
    await using setup = await startNri({ registrationTimeoutMs: 300 });
    const socket = connect({ path: setup.socketPath });
    socket.on("error", () => {});
    socket.resume();
    socket.write(bytes);
    await once(socket, "close");
    // Others are not harmed by it.
    await using _plugin = await runNriPlugin({}, { name: "good", index: "00", socketPath: setup.socketPath });
    await expect.poll(() => names(setup.nri)).toEqual(["00-good"]);
  });

  it("hear of the end of the runtime", async () => {
    const setup = await startNri();
    let farewell = false;
    const plugin = await runNriPlugin(
      { shutdown: () => void (farewell = true) },
      { name: "last", index: "00", socketPath: setup.socketPath },
    );
    await expect.poll(() => names(setup.nri)).toEqual(["00-last"]);
    await setup[Symbol.asyncDispose]();
    await plugin.closed;
    expect(farewell).toBe(true);
    expect(await codeFrom(plugin.updateContainers([]))).toBe(Code.Unavailable);
  });
});
