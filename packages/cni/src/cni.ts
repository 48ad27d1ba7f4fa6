import type { CallOptions } from "@berth/core/any";
import { failedPrecondition, isNotFound, wrapError } from "@berth/errors";

import { loadNetworks } from "./load-networks.ts";
import { attach, checkAttached, collectGarbage, detach, networkStatus, type PluginRunner, tryAll } from "./network.ts";
import { type NetworkConfig, parseNetworkList } from "./network-config.ts";
import { findPluginError } from "./plugin-error.ts";
import type { CniResult } from "./result.ts";
import { type Attachment, ResultCache } from "./result-cache.ts";
import { type NetworkState, networkState } from "./network-state.ts";

/** Where Debian and most others have what belongs to CNI. */
export const CNI_DEFAULTS = {
  configDirectory: "/etc/cni/net.d",
  pluginDirectories: ["/opt/cni/bin"],
  cacheDirectory: "/var/lib/cni",
} as const;

const TIMEOUT_MS = 120_000;
const UNDO_TIMEOUT_MS = 60_000;
const LOOPBACK = parseNetworkList(
  // Of the version that every plugin knows; that has no checks.
  JSON.stringify({ cniVersion: "0.3.1", name: "cni-loopback", disableCheck: true, plugins: [{ type: "loopback" }] }),
);

/** Options of {@link Cni.load}. */
export interface CniOptions {
  readonly configDirectory?: string;
  readonly pluginDirectories?: readonly string[];
  /** Where results are remembered, for all programs of a machine that follow the conventions. */
  readonly cacheDirectory?: string;
  /** So many networks are used, the first ones by the names of their files; 0 for all; 1 when absent. */
  readonly maxNetworks?: number;
  /** `eth` when absent: the first network's interface is `eth0`. */
  readonly interfacePrefix?: string;
  /** Also the interface `lo` is brought up by a plugin. */
  readonly loopback?: boolean;
  /** One network after the other; side by side when absent. */
  readonly serially?: boolean;
  /** Of each plugin; two minutes when absent. */
  readonly timeoutMs?: number;
  /** Of undoing an attachment that failed, whatever its plugins are; one minute when absent. */
  readonly undoTimeoutMs?: number;
}

/** A container whose network is made or removed. */
export interface CniContainer {
  /** Letters, digits, `_`, `.` and `-`; unique on the machine. */
  readonly id: string;
  /** Path of its network namespace; empty, for a removal, where that is gone. */
  readonly netns: string;
  /** Told to all plugins, such as `K8S_POD_NAME`. */
  readonly args?: Readonly<Record<string, string>>;
  /** Told to plugins that know them, such as `portMappings`. */
  readonly capabilities?: Readonly<Record<string, unknown>>;
}

/** A network, and the interface that a container has in it. */
export interface CniNetwork {
  readonly config: NetworkConfig;
  readonly ifName: string;
}

/**
 * The networks of a machine, as they were loaded: containers are attached to all of them. Calls for different containers may overlap; those for one must not.
 *
 * @see containerd/go-cni cni.go
 */
export class Cni {
  readonly networks: readonly CniNetwork[];
  readonly #runner: PluginRunner;
  readonly #prefix: string;
  readonly #serially: boolean;
  readonly #undoTimeoutMs: number;

  private constructor(networks: readonly CniNetwork[], options: CniOptions) {
    this.networks = networks;
    this.#prefix = options.interfacePrefix ?? "eth";
    this.#serially = options.serially ?? false;
    this.#undoTimeoutMs = options.undoTimeoutMs ?? UNDO_TIMEOUT_MS;
    this.#runner = {
      pluginDirectories: options.pluginDirectories ?? CNI_DEFAULTS.pluginDirectories,
      timeoutMs: options.timeoutMs ?? TIMEOUT_MS,
      cache: new ResultCache(options.cacheDirectory ?? CNI_DEFAULTS.cacheDirectory),
    };
  }

  /** This loads the networks. @throws failed_precondition - there is none; invalid_argument - a broken one */
  static async load(options: CniOptions & CallOptions = {}): Promise<Cni> {
    const {
      configDirectory = CNI_DEFAULTS.configDirectory,
      maxNetworks = 1,
      interfacePrefix = "eth",
      signal,
    } = options;
    const configs = await loadNetworks(configDirectory, { maxNetworks, signal });
    const loopback = options.loopback === true ? [{ config: LOOPBACK, ifName: "lo" }] : [];
    const networks = configs.map((config, index) => ({ config, ifName: `${interfacePrefix}${index}` }));
    return new Cni([...loopback, ...networks], options);
  }

  /**
   * This attaches a container to every network. After a failure it is attached to none, as far as the plugins can still detach it.
   *
   * @throws CniPluginError, wrapped - a plugin failed: see `findPluginError`; not_found - there is no such plugin
   */
  async setup(container: CniContainer, { signal }: CallOptions = {}): Promise<NetworkState> {
    if (container.netns === "") throw failedPrecondition(`container ${container.id} has no network namespace`);
    await using undo = new AsyncDisposableStack();
    // Without the caller's signal: what was begun is undone all the same. The error that led here is the one to tell.
    undo.defer(() => this.remove(container, { signal: AbortSignal.timeout(this.#undoTimeoutMs) }).catch(() => {}));
    const results = await this.#attachAll(container, signal);
    const state = networkState(results, `${this.#prefix}0`);
    undo.move();
    return state;
  }

  /**
   * This detaches a container from every network, of which none need be there. All are tried; what is gone already is no failure.
   *
   * @throws CniPluginError, wrapped - of the first that failed
   */
  async remove(container: CniContainer, { signal }: CallOptions = {}): Promise<void> {
    const steps = this.networks.toReversed().map((network) => async () => {
      try {
        await detach(this.#runner, network.config, attachmentOf(network, container), { signal });
      } catch (error) {
        if (!isGone(error, container.netns)) throw wrapError(error, `detach ${container.id}`);
      }
    });
    await tryAll(steps, signal);
  }

  /** This asks whether the attachments of a container are as they were made. @throws CniPluginError, wrapped; failed_precondition */
  async check(container: CniContainer, { signal }: CallOptions = {}): Promise<void> {
    for (const network of this.networks)
      await checkAttached(this.#runner, network.config, attachmentOf(network, container), { signal });
  }

  /** This asks whether containers can be attached now. @throws CniPluginError, wrapped - of the first that tells why not */
  async status({ signal }: CallOptions = {}): Promise<void> {
    for (const { config } of this.networks) await networkStatus(this.#runner, config, { signal });
  }

  /** This detaches every container but those with these ids, from all networks. @throws the first error, once all was tried */
  async collectGarbage(ids: ReadonlySet<string>, { signal }: CallOptions = {}): Promise<void> {
    const steps = this.networks.map(({ config, ifName }) => async () => {
      const valid = [...ids].map((containerId) => ({ containerId, ifName }));
      await collectGarbage(this.#runner, config, valid, { signal });
    });
    await tryAll(steps, signal);
  }

  async #attachAll(container: CniContainer, signal: AbortSignal | undefined): Promise<readonly CniResult[]> {
    const one = (network: CniNetwork): Promise<CniResult> =>
      attach(this.#runner, network.config, attachmentOf(network, container), { signal });
    if (this.#serially) {
      const results: CniResult[] = [];
      for (const network of this.networks) results.push(await one(network));
      return results;
    }
    // All are awaited, so that nothing is detached that is still being attached.
    const settled = await Promise.allSettled(this.networks.map(one));
    return settled.map((each) => {
      if (each.status === "rejected") throw each.reason;
      return each.value;
    });
  }
}

function attachmentOf(
  { config, ifName }: CniNetwork,
  { id, netns, args = {}, capabilities = {} }: CniContainer,
): Attachment {
  return {
    network: config.name,
    containerId: id,
    ifName,
    netns,
    args: Object.entries(args),
    capabilityArgs: capabilities,
  };
}

/**
 * What is to be removed is not there. Plugins have one code for that and seldom use it; by their words it is told as containerd does: many of them fail so when the namespace is gone.
 */
function isGone(error: unknown, netns: string): boolean {
  const failure = findPluginError(error);
  if (failure === undefined) return false;
  const { message, details } = failure.failure;
  const text = `${message} ${details}`;
  return (
    isNotFound(failure) || text.includes("not found") || (netns === "" && text.includes("no such file or directory"))
  );
}
