import { chmodSync, copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { execFile } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";

import { createClient, type Client } from "@connectrpc/connect";
import { Events } from "@berth/api/containerd/services/events/ttrpc/v1/events";
import { Task } from "@berth/api/containerd/task/v2/task";
import { unknown } from "@berth/errors";
import { debianPath, debianTool, temporaryDirectory } from "@berth/testing";
import { createTtrpcServer, createTtrpcTransport } from "@berth/ttrpc";

const MAIN = join(import.meta.dirname, "..", "src", "main.ts");

/** Stands for a daemon: a directory for bundles and sockets, a place that takes events, and the shim as a program. */
export class ShimFixture implements AsyncDisposable {
  readonly directory: string;
  readonly topics: string[] = [];
  readonly env: Record<string, string>;
  readonly #stack: AsyncDisposableStack;

  private constructor(directory: string, env: Record<string, string>, stack: AsyncDisposableStack) {
    this.directory = directory;
    this.#stack = stack;
    this.env = {
      PATH: debianPath(),
      TTRPC_ADDRESS: join(directory, "d.ttrpc"),
      GRPC_ADDRESS: join(directory, "d.sock"),
      BERTH_SHIM_SOCKET_DIR: join(directory, "s"),
      BERTH_SHIM_RUNC_ROOT: join(directory, "runc"),
      BERTH_SHIM_LINGER_MS: "300",
      ...env,
    };
  }

  static async open(env: Record<string, string> = {}): Promise<ShimFixture> {
    const stack = new AsyncDisposableStack();
    const { path } = stack.use(await temporaryDirectory("shim"));
    const fixture = new ShimFixture(path, env, stack);
    const server = stack.use(createTtrpcServer());
    server.register(Events, {
      forward: ({ envelope }) => {
        fixture.topics.push(envelope?.topic ?? "");
        return {};
      },
    });
    await server.listen({ path: fixture.env["TTRPC_ADDRESS"] ?? "" });
    return fixture;
  }

  /** This makes a bundle of a busybox and a command. */
  bundle(id: string, args: readonly string[]): string {
    const bundle = join(this.directory, "b", id);
    for (const name of ["bin", "proc", "dev"]) mkdirSync(join(bundle, "rootfs", name), { recursive: true });
    const busybox = join(bundle, "rootfs", "bin", "busybox");
    copyFileSync(debianTool("busybox"), busybox);
    chmodSync(busybox, 0o755);
    for (const applet of ["sh", "sleep", "true", "echo"]) symlinkSync("busybox", join(dirname(busybox), applet));
    const specification = {
      ociVersion: "1.0.2",
      process: { user: { uid: 0, gid: 0 }, args, env: ["PATH=/bin"], cwd: "/" },
      root: { path: "rootfs" },
      mounts: [
        { destination: "/proc", type: "proc", source: "proc" },
        // Its own: containers of one root file system would make /dev/ptmx at the same time.
        { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "mode=755"] },
        { destination: "/dev/pts", type: "devpts", source: "devpts", options: ["newinstance", "ptmxmode=0666"] },
      ],
      linux: {
        cgroupsPath: `/berth-test-${process.pid}-${id}`,
        namespaces: ["pid", "ipc", "uts", "mount", "network"].map((type) => ({ type })),
      },
    };
    writeFileSync(join(bundle, "config.json"), JSON.stringify(specification));
    return bundle;
  }

  /** This runs the shim as a daemon would. */
  async run(
    id: string,
    action: string,
    options: { readonly input?: Uint8Array; readonly flags?: readonly string[] } = {},
  ) {
    const bundle = join(this.directory, "b", id);
    const flags = [
      "-namespace",
      "test",
      "-address",
      this.env["GRPC_ADDRESS"] ?? "",
      "-id",
      id,
      ...(options.flags ?? []),
    ];
    const args = ["--conditions=@berth/source", "--disable-warning=ExperimentalWarning", MAIN, ...flags, action];
    return await execute(args, { cwd: bundle, env: this.env, input: options.input ?? new Uint8Array() });
  }

  /** This starts a shim for a container, or finds one, and returns its address. */
  async start(id: string): Promise<string> {
    return addressOf(await this.run(id, "start"));
  }

  /** This connects to a shim until the fixture is closed. */
  client(address: string): Client<typeof Task> {
    return createClient(Task, this.#stack.use(createTtrpcTransport({ path: address })));
  }

  /** This starts a container from its bundle. */
  async launch(client: Client<typeof Task>, id: string): Promise<number> {
    await client.create({ id, bundle: join(this.directory, "b", id) });
    return (await client.start({ id })).pid;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** What the shim as a program said, byte by byte. */
interface Answer {
  readonly code: number;
  readonly stdout: Uint8Array;
  readonly stderr: string;
}

function execute(
  args: readonly string[],
  { input, ...options }: { readonly cwd: string; readonly env: Record<string, string>; readonly input: Uint8Array },
): Promise<Answer> {
  return new Promise((resolve) => {
    const settings = { ...options, encoding: "buffer", timeout: 20_000 } as const;
    const child = execFile(process.execPath, args, settings, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === "number" ? error.code : 128;
      resolve({ code, stdout, stderr: stderr.toString() });
    });
    child.stdin?.end(input);
  });
}

function addressOf({ code, stdout, stderr }: Answer): string {
  const address = new TextDecoder().decode(stdout);
  if (code !== 0 || !address.startsWith("unix:///")) throw unknown(`start ended with ${code}: ${address} ${stderr}`);
  return address;
}

/** Whether a process is there and no zombie. */
export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

/** This waits until a process has ended. */
export async function ended(pid: number): Promise<boolean> {
  for (let round = 0; round < 200 && isAlive(pid); round += 1) await sleep(25);
  return !isAlive(pid);
}
