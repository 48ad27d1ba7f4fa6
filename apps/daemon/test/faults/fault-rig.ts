import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { Client } from "@berth/client";
import { DEFAULT_NAMESPACE, parseNamespace } from "@berth/core/namespaces";
import { isFailedPrecondition } from "@berth/errors";
import { createUnixTransport } from "@berth/rpc/client";
import type { CallTracer, FaultImage, PeerDaemon, TraceOptions } from "@berth/testing";
import { faultImage, startBerthd, startContainerd, temporaryDirectory, traceCalls } from "@berth/testing";

import { deleteEverything } from "./check-leaks.ts";
import type { FaultDisk } from "./fault-disk.ts";
import { listFiles } from "./list-files.ts";
import { Ledger } from "./ledger.ts";
import { makeScratch } from "./mount-snapshot.ts";
import { importInto } from "./operations.ts";

/** How a rig is set up. */
export interface FaultRigOptions {
  /** The root is on this disk, which the caller disposes after the rig; in a temporary directory when absent. */
  readonly disk?: FaultDisk;
  readonly snapshotter?: string;
  /** Another daemon in the place of ours. */
  readonly peer?: "containerd";
  readonly env?: Readonly<Record<string, string>>;
  readonly images?: FaultRigImages;
  /** TOML of the daemon's configuration. */
  readonly config?: string;
}

/** The images of a rig: they share their base. */
export interface FaultRigImages {
  readonly first: FaultImage;
  readonly second: FaultImage;
}

/** This makes images of a few hundred small files. */
export async function smallImages(filesPerLayer = 24, fileBytes = 6000): Promise<FaultRigImages> {
  const size = { filesPerLayer, fileBytes };
  return {
    first: await faultImage({ name: "example.org/fault/first:1", layers: [1, 2], ...size }),
    second: await faultImage({ name: "example.org/fault/second:1", layers: [1, 3, 4], ...size }),
  };
}

/** A daemon, the client that talks to it, and what it has acknowledged. */
export class FaultRig implements AsyncDisposable {
  readonly daemon: PeerDaemon;
  readonly directory: string;
  readonly disk: FaultDisk | undefined;
  readonly snapshotter: string;
  readonly images: FaultRigImages;
  readonly #owned: AsyncDisposableStack;
  #client: Client;
  #ledger = new Ledger();
  /** Files of a root in which nothing is stored. */
  #emptyRoot: ReadonlySet<string> = new Set();

  private constructor(parts: {
    readonly daemon: PeerDaemon;
    readonly directory: string;
    readonly options: FaultRigOptions;
    readonly images: FaultRigImages;
    readonly owned: AsyncDisposableStack;
  }) {
    this.daemon = parts.daemon;
    this.directory = parts.directory;
    this.disk = parts.options.disk;
    this.snapshotter = parts.options.snapshotter ?? "overlayfs";
    this.images = parts.images;
    this.#owned = parts.owned;
    this.#client = this.#connect();
  }

  /** This starts a daemon on an empty root. */
  static async start(options: FaultRigOptions = {}): Promise<FaultRig> {
    await using stack = new AsyncDisposableStack();
    const directory = stack.use(await temporaryDirectory("faults")).path;
    const temp = join(directory, "tmp");
    await mkdir(temp);
    const config = `${options.config ?? ""}${options.snapshotter === "blockfile" ? await makeScratch(directory) : ""}`;
    const start = options.peer === "containerd" ? startContainerd : startBerthd;
    const daemon = stack.use(
      await start({
        directory,
        ...(options.disk === undefined ? {} : { root: join(options.disk.path, "root") }),
        config,
        // One thread for the calls of files: the order of faults is then nearly that of the program.
        env: { UV_THREADPOOL_SIZE: "1", TMPDIR: temp, ...options.env },
      }),
    );
    const images = options.images ?? (await smallImages());
    const rig = new FaultRig({ daemon, directory, options, images, owned: stack.move() });
    // Directories that are made at the first use stay.
    await importInto(rig, images.first, 1);
    await deleteEverything(rig);
    rig.#emptyRoot = await rig.listFiles();
    return rig;
  }

  get client(): Client {
    return this.#client;
  }

  get ledger(): Ledger {
    return this.#ledger;
  }

  get emptyRoot(): ReadonlySet<string> {
    return this.#emptyRoot;
  }

  /** This lists what is in the directories of the daemon now. */
  listFiles(): Promise<ReadonlySet<string>> {
    return listFiles([this.daemon.root, this.daemon.state, join(this.directory, "tmp")]);
  }

  /** This forgets what was acknowledged. */
  newLedger(): void {
    this.#ledger = new Ledger();
  }

  /** This kills the daemon if it lives and starts it again; with `powerCut` the file system loses what has not reached it. */
  async restart(options: { readonly powerCut?: boolean } = {}): Promise<void> {
    await this.#client[Symbol.asyncDispose]();
    const disk = options.powerCut === true ? this.disk : undefined;
    await this.daemon.restart({
      signal: "SIGKILL",
      ...(disk === undefined ? {} : { whileDown: () => disk.remount() }),
    });
    this.#client = this.#connect();
  }

  /**
   * This kills the daemon and starts it again under the eyes of strace. Returns what strace has seen; `undefined` when the daemon did not
   * come up: the fault has hit it.
   */
  async restartTraced(trace: TraceOptions): Promise<readonly string[] | undefined> {
    await this.#client[Symbol.asyncDispose]();
    await using stack = new AsyncDisposableStack();
    let tracer: CallTracer | undefined;
    const beforeStart = async (pid: number): Promise<void> => {
      tracer = stack.use(await traceCalls(pid, trace));
    };
    try {
      await this.daemon.restart({ signal: "SIGKILL", beforeStart });
    } catch (error) {
      if (tracer === undefined || !isFailedPrecondition(error)) throw error;
      return undefined;
    }
    this.#client = this.#connect();
    await tracer?.detach();
    return tracer?.lines();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client[Symbol.asyncDispose]();
    await this.#owned.disposeAsync();
  }

  #connect(): Client {
    const namespace = parseNamespace(DEFAULT_NAMESPACE);
    const transport = createUnixTransport({ path: this.daemon.address, namespace });
    // The ledger of the time of the call, which changes from round to round.
    const watched = {
      unary: (...args) => this.#ledger.watch(transport).unary(...args),
      stream: (...args) => this.#ledger.watch(transport).stream(...args),
    } satisfies ConstructorParameters<typeof Client>[0];
    return new Client(watched, namespace, async () => transport.close());
  }
}
