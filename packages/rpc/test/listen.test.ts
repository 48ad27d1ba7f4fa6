import { once } from "node:events";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import * as http from "node:http";
import * as net from "node:net";
import * as tls from "node:tls";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execFile, spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

import { Code } from "@connectrpc/connect";
import { codeOf } from "@berth/errors";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import { bindTcp, bindUnix, createRpcServer, serviceRoute } from "../src/index.ts";
import { createClient, createUnixTransport } from "../src/client/index.ts";
import { bytes, Echo, textOf } from "./echo-service.ts";

let directory: string;
let path: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "berth-rpc-"));
  path = join(directory, "s");
});
afterEach(() => rm(directory, { recursive: true }));

/** The frame that a server begins with. */
const EMPTY_SETTINGS = new Uint8Array([0, 0, 0, 4, 0, 0, 0, 0, 0]);
const gate = () => Promise.withResolvers<void>();
const slowServer = (release: Promise<void>, onStart: () => void, onAbort: () => void = () => {}) =>
  createRpcServer({
    routes: [
      serviceRoute(Echo, {
        async unary(request, context) {
          if (textOf(request) !== "slow") return request;
          context.signal.addEventListener("abort", onAbort);
          onStart();
          await release;
          return request;
        },
      }),
    ],
  });
const codeOfCall = async (call: Promise<unknown>) =>
  codeOf(
    await call.then(
      () => undefined,
      (e: unknown) => e,
    ),
  );

describe("listen", () => {
  it.each([
    [undefined, 0o660],
    [0o600, 0o600],
  ])("with mode %o makes a socket of mode %o and removes it at close", async (mode, expected) => {
    const server = createRpcServer({ routes: [] });
    await server.listen({ path, mode, uid: 0, gid: 0 });
    expect(statSync(path).mode & 0o777).toBe(expected);
    await server.close();
    expect(existsSync(path)).toBe(false);
  });

  it("takes the place of a socket nobody answers on", async () => {
    const script = `require("net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
    await once(spawn(process.execPath, ["-e", script]), "exit");
    expect(existsSync(path)).toBe(true);
    await using server = createRpcServer({ routes: [] });
    await server.listen({ path });
  });

  it("leaves a socket alone on which somebody answers", async () => {
    await using first = slowServer(Promise.resolve(), () => {});
    await first.listen({ path });
    await using second = createRpcServer({ routes: [] });
    expect(await codeOfCall(second.listen({ path }))).toBe(Code.FailedPrecondition);
    await using transport = createUnixTransport({ path });
    expect(textOf(await createClient(Echo, transport).unary(bytes("a")))).toBe("a");
  });

  it("leaves a file alone that is no socket", async () => {
    writeFileSync(path, "precious");
    expect(await codeOfCall(createRpcServer({ routes: [] }).listen({ path }))).toBe(Code.FailedPrecondition);
    expect(statSync(path).size).toBe(8);
  });

  it.each([
    ["a path of 105 bytes", () => `/tmp/${"x".repeat(100)}`, Code.InvalidArgument],
    ["a missing directory", () => join(directory, "no", "s"), Code.NotFound],
  ])("refuses %s", async (_name, makePath, code) => {
    expect(await codeOfCall(createRpcServer({ routes: [] }).listen({ path: makePath() }))).toBe(code);
  });

  it("serves several listeners, TCP too, each of them disposable", async () => {
    await using server = slowServer(Promise.resolve(), () => {});
    const unix = await server.listen({ path });
    const { address } = await server.listen({ host: "127.0.0.1", port: 0 });
    const { port } = address as net.AddressInfo;
    const url = `http://127.0.0.1:${port}/berth.test.Echo/Unary`;
    const answer = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: '"YQ=="',
    });
    expect(await answer.text()).toBe('"YQ=="');
    await unix[Symbol.asyncDispose]();
    expect(existsSync(path)).toBe(false);
    expect(
      (await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body: '""' })).status,
    ).toBe(200);
  });
});

describe("bindUnix and bindTcp", () => {
  it("make the directories of a socket that are missing, with their mode", async () => {
    const server = net.createServer();
    await bindUnix(server, { path: join(directory, "a", "b", "s"), directoryMode: 0o710 });
    server.close();
    expect(["a", "a/b"].map((name) => statSync(join(directory, name)).mode & 0o777)).toEqual([0o710, 0o710]);
  });

  it.each([
    ["where none can be made", () => "/proc/none/such/s", Code.NotFound],
    ["below a file", () => join(directory, "file", "a", "s"), undefined],
  ])("come to an end %s", async (_name, makePath, code) => {
    writeFileSync(join(directory, "file"), "");
    const address = { path: makePath(), directoryMode: 0o700 };
    const failure: unknown = await bindUnix(net.createServer(), address).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(Error);
    if (code !== undefined) expect(codeOf(failure)).toBe(code);
  });

  it.each([
    ["bindUnix", (server: net.Server) => bindUnix(server, { path })],
    ["bindTcp", (server: net.Server) => bindTcp(server, { host: "127.0.0.1", port: 0 })],
  ])("%s: a failed accept is no error that nobody listens to", async (_name, bind) => {
    const server = net.createServer();
    await bind(server);
    expect(() => server.emit("error", Object.assign(new Error("accept EMFILE"), { code: "EMFILE" }))).not.toThrow();
    expect(server.listening).toBe(true);
    server.close();
  });

  it("bindTcp leaves half of the descriptors to others", async () => {
    const entry = JSON.stringify(new URL("../src/server/bind.ts", import.meta.url).href);
    const program = `
      import { createServer } from "node:net";
      import { bindTcp } from ${entry};
      const server = createServer();
      await bindTcp(server, { host: "127.0.0.1", port: 0 });
      console.log(server.maxConnections);
      server.close();`;
    const node = [process.execPath, "--conditions=@berth/source", "--input-type=module", "-e", program];
    const { stdout } = await promisify(execFile)("prlimit", ["--nofile=100:100", ...node]);
    expect(Number(stdout)).toBe(50);
  });
});

describe("close", () => {
  it("ends connections that have not finished their TLS handshake", async () => {
    const [key, cert] = [join(directory, "key"), join(directory, "cert")];
    const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    const files = ["-keyout", key, "-out", cert, "-subj", "/CN=localhost"];
    await promisify(execFile)("openssl", ["req", "-x509", ...curve, ...files]);
    const identity = { key: readFileSync(key, "utf8"), cert: readFileSync(cert, "utf8") };
    const server = createRpcServer({ routes: [] });
    const { address } = await server.listen({ host: "127.0.0.1", port: 0, tls: identity });
    const { port } = address as net.AddressInfo;
    const silent = net.connect(port, "127.0.0.1");
    const encrypted = tls.connect({ port, host: "127.0.0.1", ca: identity.cert, checkServerIdentity: () => undefined });
    await Promise.all([once(silent, "connect"), once(encrypted, "secureConnect")]);
    const closed = [silent, encrypted].map((socket) =>
      once(
        socket.on("error", () => {}),
        "close",
      ),
    );
    await server.close({ graceMs: 0 });
    // Much less than the deadline of a handshake.
    const late = new Promise((resolve) => setTimeout(resolve, 5000, "late").unref());
    expect(await Promise.race([Promise.all(closed), late])).not.toBe("late");
  });

  it("lets running calls finish, refuses new ones, closes idle connections", async () => {
    const [release, started] = [gate(), gate()];
    const server = slowServer(release.promise, started.resolve);
    await server.listen({ path });
    const idle = net.connect(path);
    await once(idle, "connect");
    const agent = new http.Agent({ keepAlive: true });
    const options = { socketPath: path, agent, path: "/x", method: "GET" };
    await new Promise((resolve) => http.get(options, (response) => response.resume().on("end", resolve)));
    await using transport = createUnixTransport({ path });
    const client = createClient(Echo, transport);
    const running = client.unary(bytes("slow"));
    await started.promise;
    const closed = server.close({ graceMs: 5000 });
    await once(idle, "close");
    expect(await codeOfCall(client.unary(bytes("late")))).toBe(Code.Unavailable);
    release.resolve();
    expect(textOf(await running)).toBe("slow");
    await closed;
    agent.destroy();
  });

  it("cuts off what is left after the grace, and aborts its signal", async () => {
    const [release, started, aborted] = [gate(), gate(), gate()];
    const server = slowServer(release.promise, started.resolve, aborted.resolve);
    await server.listen({ path });
    await using transport = createUnixTransport({ path });
    const call = codeOfCall(createClient(Echo, transport).unary(bytes("slow")));
    await started.promise;
    await server.close({ graceMs: 50 });
    await aborted.promise;
    expect(await call).toBe(Code.Unavailable);
    await server.close();
  });
});

describe("createUnixTransport", () => {
  it("fails with unavailable when nobody listens, and connects once somebody does", async () => {
    await using transport = createUnixTransport({ path });
    const client = createClient(Echo, transport);
    expect(await codeOfCall(client.unary(bytes("a")))).toBe(Code.Unavailable);
    await using server = slowServer(Promise.resolve(), () => {});
    await server.listen({ path });
    expect(textOf(await client.unary(bytes("a")))).toBe("a");
  });

  it("connects anew after the server was replaced", async () => {
    await using transport = createUnixTransport({ path });
    const client = createClient(Echo, transport);
    for (let round = 0; round < 3; round++) {
      await using server = slowServer(Promise.resolve(), () => {});
      await server.listen({ path });
      await expect.poll(() => client.unary(bytes("a")).then(textOf, () => "")).toBe("a");
      await server.close({ graceMs: 0 });
    }
  });

  it("gives up on a peer that accepts and says nothing", async () => {
    const mute = net.createServer(() => {}).listen(path);
    await once(mute, "listening");
    await using transport = createUnixTransport({ path });
    const call = createClient(Echo, transport).unary(bytes("a"), { timeoutMs: 50 });
    expect(await codeOfCall(call)).toBe(Code.DeadlineExceeded);
    mute.close();
  });

  it("tells of the end of a connection, whose calls fail with unavailable", async () => {
    const sockets: net.Socket[] = [];
    // It reads nothing, so that its end is a reset, as that of a process that is killed.
    const peer = net.createServer({ pauseOnConnect: true }, (socket) => {
      sockets.push(socket);
      socket.write(EMPTY_SETTINGS);
    });
    await once(peer.listen(path), "listening");
    const ended = gate();
    await using transport = createUnixTransport({ path, onClose: ended.resolve });
    await transport.connect();
    const call = codeOfCall(createClient(Echo, transport).unary(bytes("a")));
    await expect.poll(() => sockets.length).toBe(1);
    await sleep(50); // the request has left
    peer.close();
    sockets[0]?.destroy();
    expect(await call).toBe(Code.Unavailable);
    expect(await codeOfCall(transport.connect())).toBe(Code.Unavailable);
    await ended.promise;
  });

  it("is not connected to a peer that takes the connection and ends it", async () => {
    const peer = net.createServer((socket) => socket.destroy());
    await once(peer.listen(path), "listening");
    await using transport = createUnixTransport({ path });
    expect(await codeOfCall(transport.connect())).toBe(Code.Unavailable);
    peer.close();
  });

  it.each([
    ["aborted signal", { signal: AbortSignal.abort() }, Code.Canceled],
    ["deadline in the past", { timeoutMs: 0 }, Code.DeadlineExceeded],
  ])("does not begin a call with an %s", async (_name, options, code) => {
    await using transport = createUnixTransport({ path });
    expect(await codeOfCall(createClient(Echo, transport).unary(bytes("a"), options))).toBe(code);
  });

  it("refuses calls after close", async () => {
    const transport = createUnixTransport({ path });
    transport.close();
    transport.close();
    expect(await codeOfCall(createClient(Echo, transport).unary(bytes("a")))).toBe(Code.Canceled);
  });

  it("does not keep an idle process alive", async () => {
    await using server = slowServer(Promise.resolve(), () => {});
    await server.listen({ path });
    const script = `
      import { createClient, createUnixTransport } from "@berth/rpc/client";
      import { Version } from "@berth/api/containerd/services/version/v1/version";
      await createClient(Version, createUnixTransport({ path: ${JSON.stringify(path)} })).version({}).catch(() => {});`;
    const cwd = join(import.meta.dirname, "..");
    const child = spawn(process.execPath, ["--conditions=@berth/source", "--input-type=module", "-e", script], {
      cwd,
      stdio: "inherit",
    });
    expect(await once(child, "exit")).toEqual([0, null]);
  });
});
