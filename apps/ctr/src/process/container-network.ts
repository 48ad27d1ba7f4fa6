import { open, stat, type FileHandle } from "node:fs/promises";

import type { Client } from "@berth/client";
import type { Cni, CniContainer } from "@berth/cni";
import type { AnyValue, CallOptions } from "@berth/core/any";
import type { Container } from "@berth/core/containers";
import { failedPrecondition, isNotFound, messageOf, wrapError } from "@berth/errors";

import { complain } from "../output/complain.ts";

/** By this containerd's ctr knows a container whose network is made by CNI. */
const EXTENSION = "ctr.cni-containerd.metadata";
const TYPE_URL = "github.com/containerd/containerd/v2/cmd/ctr/commands/NetworkMetaData";
/** A removal is not stopped by what stopped the command. */
const REMOVAL_MS = 60_000;

/** This marks a container whose network is made by CNI. */
export function networkExtension(): ReadonlyMap<string, AnyValue> {
  const value = new TextEncoder().encode(JSON.stringify({ EnableCni: true }));
  return new Map([[EXTENSION, { typeUrl: TYPE_URL, value }]]);
}

/** This tells whether a container was made with a network by CNI, by this program or containerd's. */
export function hasNetwork({ extensions }: Pick<Container, "extensions">): boolean {
  const found = extensions.get(EXTENSION);
  if (found === undefined) return false;
  try {
    // Whatever else it may be, it has no such field then.
    const { EnableCni: enabled } = JSON.parse(new TextDecoder().decode(found.value)) as { EnableCni?: unknown };
    return enabled === true;
  } catch {
    return false;
  }
}

/**
 * The network that a container's task gets before it starts. Disposing it detaches the container, if it was attached and is not to be kept; what fails then is told, for there is
 * nobody to go back to.
 */
export class ContainerNetwork implements AsyncDisposable {
  readonly #cni: Cni;
  readonly #id: string;
  #netns: FileHandle | undefined;

  private constructor(cni: Cni, id: string) {
    this.#cni = cni;
    this.#id = id;
  }

  /**
   * This loads the first network of `/etc/cni/net.d`, with the plugins of `/opt/cni/bin`; NETCONFPATH and CNI_PATH name other directories, as for other tools.
   *
   * @throws failed_precondition - there is none; invalid_argument - it is broken
   */
  static async load(client: Client, id: string, { signal }: CallOptions = {}): Promise<ContainerNetwork> {
    const { Cni } = await import("@berth/cni");
    const { NETCONFPATH: configDirectory = "", CNI_PATH: plugins = "" } = process.env;
    const cni = await Cni.load({
      ...(configDirectory !== "" && { configDirectory }),
      ...(plugins !== "" && { pluginDirectories: plugins.split(":") }),
      signal,
    });
    return new ContainerNetwork(cni, `${client.namespace}-${id}`);
  }

  /** This attaches the namespace of a process, which is held from then on. @throws failed_precondition - it is the host's; what the plugins say */
  async attach(pid: number, { signal }: CallOptions = {}): Promise<void> {
    if (!(await this.hold(pid)))
      throw failedPrecondition("the container has the host's network: CNI is for one of its own");
    try {
      await this.#cni.setup({ id: this.#id, netns: namespaceOf(pid) }, { signal });
    } catch (error) {
      // It has undone what it could.
      await this.keep();
      throw error;
    }
  }

  /**
   * This holds the namespace of a process, so that plugins still find it when the process has ended, and returns true. The host's is not held: plugins would take the host's own
   * interface away.
   */
  async hold(pid: number): Promise<boolean> {
    await this.keep();
    await using undo = new AsyncDisposableStack();
    const netns = await open(namespaceOf(pid), "r");
    undo.defer(() => netns.close());
    // Of what was opened: a number can become another process's at any time.
    const [own, its] = await Promise.all([stat("/proc/self/ns/net"), netns.stat()]);
    if (own.ino === its.ino && own.dev === its.dev) return false;
    undo.move();
    this.#netns = netns;
    return true;
  }

  /** This leaves the container attached. */
  async keep(): Promise<void> {
    await this.#netns?.close();
    this.#netns = undefined;
  }

  /** This lets go of what plugins remember of a task that ended with the machine, such as its address: they would refuse the next one. What fails is dropped. */
  async forget({ signal }: CallOptions = {}): Promise<void> {
    await this.#cni.remove({ id: this.#id, netns: "" }, { signal }).catch(() => {});
    signal?.throwIfAborted();
  }

  /** This detaches the container. */
  async detach({ signal }: CallOptions = {}): Promise<void> {
    const netns = this.#netns === undefined ? "" : `/proc/${process.pid}/fd/${this.#netns.fd}`;
    const container: CniContainer = { id: this.#id, netns };
    try {
      await this.#cni.remove(container, { signal });
    } catch (error) {
      throw wrapError(error, "remove network");
    } finally {
      await this.keep();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#netns === undefined) return;
    await this.detach({ signal: AbortSignal.timeout(REMOVAL_MS) }).catch((error: unknown) =>
      complain(messageOf(error)),
    );
  }
}

/**
 * This finds the network that a container was made with, to detach it when its task is gone; nothing for one without. `pid` is that of a task that still runs. That it cannot be
 * found is told: it keeps nobody from removing a container.
 */
export async function findNetwork(
  client: Client,
  id: string,
  { pid = 0, signal }: CallOptions & { readonly pid?: number } = {},
): Promise<ContainerNetwork | undefined> {
  try {
    const container = await client.containers.get(id, { signal });
    if (!hasNetwork(container)) return undefined;
    const network = await ContainerNetwork.load(client, id, { signal });
    if (pid > 0) await network.hold(pid).catch(() => {});
    return network;
  } catch (error) {
    if (!isNotFound(error)) complain(`network of container ${id} stays: ${messageOf(error)}`);
    return undefined;
  }
}

/** This detaches a container for good; what fails is told. */
export async function detachNetwork(network: ContainerNetwork | undefined, options?: CallOptions): Promise<void> {
  await network?.detach(options).catch((error: unknown) => complain(messageOf(error)));
}

function namespaceOf(pid: number): string {
  return `/proc/${pid}/ns/net`;
}
