import { Sandbox } from "@berth/api/containerd/runtime/sandbox/v1/sandbox";
import type { CallOptions } from "@berth/core/any";
import { toProtoLabels } from "@berth/core/labels";
import type { Namespace } from "@berth/core/namespaces";
import type {
  SandboxController,
  SandboxCreateOptions,
  SandboxInstance,
  SandboxMetrics,
  SandboxStatus,
} from "@berth/core/sandbox-controller";
import type { SandboxSpec } from "@berth/core/sandboxes";
import type { ShimBundles, ShimInstance } from "@berth/core/shims";
import { fromProtoTimestampNs, nowNs } from "@berth/core/timestamp";
import { isNotFound, isUnavailable, notFound, wrapError } from "@berth/errors";
import { hostPlatform, type Platform } from "@berth/oci";
import type { CallOptions as RpcCallOptions } from "@connectrpc/connect";
import { createClient } from "@connectrpc/connect";

/** How long a shim may take for most things; pulling up a virtual machine takes longer. */
const QUICK_MS = 30_000;
const SLOW_MS = 120_000;
/** Undo of a sandbox that could not be made or started. */
const CLEANUP_MS = 5000;
/** What containerd says of sandboxes that it does not know. */
const UNKNOWN_EXIT_STATUS = 255;

/**
 * Runs each sandbox in a shim of its own, which has the service `containerd.runtime.sandbox.v1.Sandbox`.
 *
 * It owns nothing: the shims belong to the bundles that it is given.
 *
 * @see containerd plugins/sandbox/controller.go
 */
export class ShimSandboxController implements SandboxController {
  readonly #bundles: ShimBundles;

  constructor(bundles: ShimBundles) {
    this.#bundles = bundles;
  }

  async create(namespace: Namespace, sandbox: SandboxSpec, options: SandboxCreateOptions): Promise<void> {
    const { id, spec, runtime } = sandbox;
    const { signal } = options;
    const start = { spec, runtime: runtime.name, options: runtime.options, signal };
    const shim = await this.#bundles.start(namespace, id, start);
    try {
      signal?.throwIfAborted();
      await clientOf(shim).createSandbox(
        {
          sandboxId: id,
          bundlePath: shim.bundlePath,
          rootfs: options.rootfs.map(({ type, source, target, options: flags }) => ({
            type,
            source,
            target,
            options: [...flags],
          })),
          netnsPath: options.netnsPath,
          annotations: toProtoLabels(options.annotations),
          ...(options.options === undefined ? {} : { options: options.options }),
        },
        rpcOptions(options, SLOW_MS),
      );
    } catch (error) {
      await this.#abandon(shim);
      throw wrapError(error, `create sandbox ${id}`);
    }
  }

  async start(namespace: Namespace, id: string, options: CallOptions = {}): Promise<SandboxInstance> {
    const shim = this.#get(namespace, id);
    try {
      const { pid, createdAt, spec } = await clientOf(shim).startSandbox(
        { sandboxId: id },
        rpcOptions(options, SLOW_MS),
      );
      return { id, pid, createdAtNs: fromProtoTimestampNs(createdAt), ...addressOf(shim), ...(spec ? { spec } : {}) };
    } catch (error) {
      await this.#abandon(shim);
      throw wrapError(error, `start sandbox ${id}`);
    }
  }

  async platform(namespace: Namespace, id: string, options: CallOptions = {}): Promise<Platform> {
    const { platform } = await clientOf(this.#get(namespace, id)).platform(
      { sandboxId: id },
      rpcOptions(options, QUICK_MS),
    );
    if (platform === undefined) return hostPlatform();
    const { os, architecture, variant, osVersion } = platform;
    return { os, architecture, ...(variant === "" ? {} : { variant }), ...(osVersion === "" ? {} : { osVersion }) };
  }

  async stop(
    namespace: Namespace,
    id: string,
    { timeoutSeconds = 0, ...options }: CallOptions & { readonly timeoutSeconds?: number } = {},
  ): Promise<void> {
    const shim = this.#bundles.find(namespace, id);
    if (shim === undefined) return;
    const limits = rpcOptions(options, QUICK_MS + timeoutSeconds * 1000);
    await clientOf(shim)
      .stopSandbox({ sandboxId: id, timeoutSecs: timeoutSeconds }, limits)
      .catch(ignoreGone(shim, options));
  }

  async wait(namespace: Namespace, id: string, options: CallOptions = {}) {
    const shim = this.#bundles.find(namespace, id);
    if (shim === undefined) return { exitStatus: UNKNOWN_EXIT_STATUS, exitedAtNs: nowNs() };
    try {
      const { exitStatus, exitedAt } = await clientOf(shim).waitSandbox({ sandboxId: id }, rpcOptions(options));
      return { exitStatus, exitedAtNs: fromProtoTimestampNs(exitedAt) };
    } catch (error) {
      options.signal?.throwIfAborted();
      if (!shim.isLost) throw error;
      // It was shut down meanwhile, and nobody will ever tell more.
      if (this.#bundles.find(namespace, id) !== shim) return { exitStatus: UNKNOWN_EXIT_STATUS, exitedAtNs: nowNs() };
      const { exitStatus, exitedAtNs } = await shim.lost;
      return { exitStatus, exitedAtNs };
    }
  }

  async status(
    namespace: Namespace,
    id: string,
    { verbose = false, ...options }: CallOptions & { readonly verbose?: boolean } = {},
  ): Promise<SandboxStatus> {
    const shim = this.#bundles.find(namespace, id);
    if (shim === undefined) return gone(id);
    const status = await clientOf(shim)
      .sandboxStatus({ sandboxId: id, verbose }, rpcOptions(options, QUICK_MS))
      .catch(ignoreGone(shim, options));
    if (status === undefined) return gone(id);
    const { pid, state, info, createdAt, exitedAt, extra } = status;
    return {
      id,
      pid,
      state,
      info: new Map(Object.entries(info)),
      createdAtNs: fromProtoTimestampNs(createdAt),
      exitedAtNs: fromProtoTimestampNs(exitedAt),
      ...addressOf(shim),
      ...(extra === undefined ? {} : { extra }),
    };
  }

  async shutdown(namespace: Namespace, id: string, options: CallOptions = {}): Promise<void> {
    const shim = this.#bundles.find(namespace, id);
    if (shim === undefined) return;
    await clientOf(shim)
      .shutdownSandbox({ sandboxId: id }, rpcOptions(options, QUICK_MS))
      .catch(ignoreGone(shim, options));
    await this.#bundles.remove(shim);
  }

  async metrics(namespace: Namespace, id: string, options: CallOptions = {}): Promise<SandboxMetrics> {
    const shim = this.#get(namespace, id);
    const { metrics } = await clientOf(shim).sandboxMetrics({ sandboxId: id }, rpcOptions(options, QUICK_MS));
    if (metrics === undefined) throw notFound(`metrics of sandbox ${id}`);
    const { timestamp, data } = metrics;
    return { id: metrics.id, timestampNs: fromProtoTimestampNs(timestamp), ...(data === undefined ? {} : { data }) };
  }

  /** Shims are not told of changed records, as in containerd: the protocol has no call for it. */
  async update(): Promise<void> {}

  #get(namespace: Namespace, id: string): ShimInstance {
    const shim = this.#bundles.find(namespace, id);
    if (shim === undefined) throw notFound(`sandbox ${id} not found`);
    return shim;
  }

  /** What the shim has made of a sandbox that failed goes away with the shim. */
  async #abandon(shim: ShimInstance): Promise<void> {
    const options = { signal: AbortSignal.timeout(CLEANUP_MS) };
    await clientOf(shim)
      .shutdownSandbox({ sandboxId: shim.id }, rpcOptions(options, CLEANUP_MS))
      .catch(() => {});
    await this.#bundles.remove(shim, { kill: true });
  }
}

function clientOf(shim: ShimInstance) {
  return createClient(Sandbox, shim.transport);
}

/** Tasks join a sandbox only in version 3 of the task API. */
function addressOf({ endpoint: { address, protocol, version } }: ShimInstance): { address: string; version: number } {
  return { address: `${protocol}+${address}`, version };
}

function gone(id: string): SandboxStatus {
  return { id, pid: 0, state: "", info: new Map(), createdAtNs: 0n, exitedAtNs: nowNs(), address: "", version: 0 };
}

function rpcOptions({ signal }: CallOptions, timeoutMs?: number): RpcCallOptions {
  return { ...(signal === undefined ? {} : { signal }), ...(timeoutMs === undefined ? {} : { timeoutMs }) };
}

/** A shim that is gone has nothing more to do, nor to say. */
function ignoreGone(shim: ShimInstance, { signal }: CallOptions): (error: unknown) => undefined {
  return (error) => {
    signal?.throwIfAborted();
    if (!isNotFound(error) && !isUnavailable(error) && !shim.isLost) throw error;
    return undefined;
  };
}
