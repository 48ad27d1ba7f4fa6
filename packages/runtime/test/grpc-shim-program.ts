// A shim that speaks gRPC, as far as a daemon sees it: its container is one process, `sleep`. Debian's shims speak ttrpc only.
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { DeleteResponseSchema } from "@berth/api/containerd/task/v2/task";
import { Task } from "@berth/api/containerd/task/v3/task";
import { Status } from "@berth/api/containerd/v1/types/task";
import { toProtoTimestampNs } from "@berth/core/timestamp";
import { notFound } from "@berth/errors";
import { createRpcServer, serviceRoute } from "@berth/rpc";
import { create, toBinary } from "@bufbuild/protobuf";

const KILLED = 137;
const PID_FILE = "container.pid";

// One dash, as Go's flags have it.
const { values, positionals } = parseArgs({
  args: process.argv.slice(2).map((word) => (/^-[a-z]/.test(word) ? `-${word}` : word)),
  allowPositionals: true,
  options: {
    namespace: { type: "string" },
    address: { type: "string" },
    "publish-binary": { type: "string" },
    id: { type: "string" },
    bundle: { type: "string", default: "." },
  },
});
const socket = join(process.cwd(), "grpc.sock");
const [command] = positionals;
if (command === "start") await startServing();
else if (command === "serve") await serve();
else if (command === "delete") removeContainer();
else throw new Error(`no such command: ${command}`);

async function startServing(): Promise<void> {
  const words = [...process.argv.slice(1, -1), "serve"];
  const child = spawn(process.execPath, [...process.execArgv, ...words], {
    detached: true,
    stdio: ["ignore", "ignore", "ignore", "ipc"],
  });
  await new Promise((resolve) => child.once("message", resolve));
  child.disconnect();
  child.unref();
  process.stdout.write(JSON.stringify({ version: 3, address: `unix://${socket}`, protocol: "grpc" }));
}

async function serve(): Promise<void> {
  const ended = Promise.withResolvers<number>();
  let container: ChildProcess | undefined;
  let exitStatus: number | undefined;
  const exit = () => ({ exitStatus: exitStatus ?? 0, exitedAt: toProtoTimestampNs(BigInt(Date.now()) * 1_000_000n) });
  const pid = (): number => container?.pid ?? 0;
  const server = createRpcServer({
    routes: [
      serviceRoute(Task, {
        create: async () => {
          container = spawn("sleep", ["60"], { stdio: "ignore" });
          container.once("exit", () => ended.resolve((exitStatus = KILLED)));
          writeFileSync(PID_FILE, String(pid()));
          return { pid: pid() };
        },
        connect: async () => ({ shimPid: process.pid, taskPid: pid(), version: "grpc" }),
        start: async () => ({ pid: pid() }),
        state: async ({ id }) => {
          const status = exitStatus === undefined ? Status.RUNNING : Status.STOPPED;
          return { id, pid: pid(), status, exitStatus: exitStatus ?? 0 };
        },
        wait: async () => {
          await ended.promise;
          return exit();
        },
        kill: async ({ signal }) => {
          if (container?.kill(signal as NodeJS.Signals & number) !== true) throw notFound("process already finished");
          return {};
        },
        delete: async () => ({ pid: pid(), ...exit() }),
        shutdown: async () => {
          setImmediate(() => void server.close()); // which lets this call end
          return {};
        },
      }),
    ],
  });
  await server.listen({ path: socket });
  process.send?.("serving");
}

function removeContainer(): void {
  const pid = Number(readFileSync(join(values.bundle, PID_FILE), "utf8"));
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // gone already
  }
  process.stdout.write(toBinary(DeleteResponseSchema, create(DeleteResponseSchema, { pid, exitStatus: KILLED })));
}
