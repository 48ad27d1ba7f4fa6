import { dirname } from "node:path";

import type { AnyValue, CallOptions } from "@berth/core/any";
import type { Logger } from "@berth/core/log";
import { poolGroup } from "@berth/core/shim-names";
import type { ShimBundles, ShimBundlesOptions, ShimEndpoint } from "@berth/core/shims";
import { silentLogger } from "@berth/core/log";
import type { ShimManager } from "@berth/plugin-core/types";
import { isUnavailable, unknown, wrapError } from "@berth/errors";
import type { RuntimeInfo } from "@berth/api/containerd/types/introspection";
import { ChildReaper } from "@berth/linux/process";
import { create, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";

import { AllowedMounts } from "./allowed-mounts.ts";
import type { Bundle } from "./bundle.ts";
import { parseRuntimeInfo, type RuntimeInfoSource } from "./runtime-info.ts";
import { DEFAULT_RUNTIME_TIMEOUTS, type RuntimeTimeouts } from "./runtime-timeouts.ts";
import { LocalShimBundles } from "./shim-bundles.ts";
import { type DeleteLimits, type DeleteRun, ShimDeletes } from "./shim-deletes.ts";
import { findShimBinary, type ShimSearch, shimSearch } from "./runtime-name.ts";
import { runShimCommand, type ShimCommand, type ShimOutput } from "./shim-command.ts";
import { type ShimConnection, ShimConnections } from "./shim-connection.ts";
import { parseBootstrapAnswer } from "./shim-endpoint.ts";
import { shimEnvironment } from "./shim-environment.ts";
import { joinPool, shimCgroup } from "./shim-pool.ts";
import type { ShimStarter, StartOptions } from "./shim-starter.ts";
import type { ShimGrouping, ShimManagerOptions } from "./shim-manager-options.ts";
import { firstForm, type StartForm, startInput } from "./start-input.ts";

const OWN_RUNTIMES = new Set(["io.containerd.runc.v2", "io.containerd.berth.v2"]);
const CONNECT_TIMEOUT_MS = 5000;
const INFO_TIMEOUT_MS = 5000;

/**
 * Finds shim binaries, starts shims and connects to them. Disposing it forgets the connections and harms no shim.
 */
export class LocalShimManager implements ShimManager, ShimStarter, RuntimeInfoSource, AsyncDisposable {
  readonly options: ShimManagerOptions;
  readonly connections: ShimConnections;
  readonly timeouts: RuntimeTimeouts;
  readonly sandboxEndpoints = new Map<string, ShimEndpoint>();
  readonly #log: Logger;
  readonly #search: ShimSearch;
  readonly #reaper = new ChildReaper({ mode: "registered" });
  readonly #binaries = new Map<string, string>();
  readonly #forms = new Map<string, StartForm>();
  readonly #deletes: ShimDeletes;
  readonly #poolStarts = new Map<string, Promise<ShimConnection>>();
  readonly #allowedMounts: AllowedMounts;

  constructor(options: ShimManagerOptions) {
    this.options = options;
    this.#log = options.log ?? silentLogger;
    this.timeouts = options.timeouts ?? DEFAULT_RUNTIME_TIMEOUTS;
    this.connections = new ShimConnections(this.#log);
    this.#allowedMounts = new AllowedMounts((binary) => this.#runInfo(binary), this.#log);
    this.#deletes = new ShimDeletes({
      run: (run) => this.#delete(run),
      takesMany: (binary) => this.isOwn(binary),
      log: this.#log,
    });
    const beside = options.defaultShim === "" ? [] : [dirname(options.defaultShim)];
    this.#search = shimSearch(process.env["PATH"], beside);
  }

  async resolve(runtime: string): Promise<string> {
    const wanted = OWN_RUNTIMES.has(runtime) && this.options.defaultShim !== "" ? this.options.defaultShim : runtime;
    const known = this.#binaries.get(wanted);
    if (known !== undefined) return known;
    const binary = await findShimBinary(wanted, this.#search);
    this.#binaries.set(wanted, binary);
    return binary;
  }

  /** This tells the types of mounts that a shim makes itself; the default shim is one of runc, and makes none. */
  async allowedMounts(binary: string): Promise<readonly string[]> {
    return binary === this.options.defaultShim ? [] : await this.#allowedMounts.of(binary);
  }

  async start(bundle: Bundle, binary: string, start: StartOptions = {}): Promise<ShimConnection> {
    const { options, signal, alone = false } = start;
    if (!alone && this.isPooled(binary)) return await this.#startPooled(bundle, binary, { options, signal });
    bundle.writeShimPath(binary);
    signal?.throwIfAborted();
    return await this.#startProcess(bundle, binary, { options, alone });
  }

  async #startPooled(bundle: Bundle, binary: string, start: StartOptions): Promise<ShimConnection> {
    const { options, signal } = start;
    signal?.throwIfAborted();
    bundle.writeShimPath(binary);
    // One `start` at a time for a namespace's pools: those who come meanwhile find room in what it made.
    const key = `${bundle.namespace}/${poolGroup(0, shimCgroup(options))}`;
    for (;;) {
      const joined = await joinPool(this, bundle, { options, signal });
      if (joined !== undefined) {
        await using undo = new AsyncDisposableStack();
        undo.use(joined);
        bundle.writeEndpoint(joined.endpoint);
        this.connections.keep(joined);
        undo.move();
        return joined;
      }
      const running = this.#poolStarts.get(key);
      if (running === undefined) break;
      await running.catch(() => undefined);
    }
    const starting = this.#startProcess(bundle, binary, { options });
    this.#poolStarts.set(key, starting);
    try {
      return await starting;
    } finally {
      this.#poolStarts.delete(key);
    }
  }

  async openBundles(options: ShimBundlesOptions): Promise<ShimBundles> {
    await using undo = new AsyncDisposableStack();
    const bundles = undo.use(new LocalShimBundles(options, this, this.#log));
    await bundles.load(options);
    undo.move();
    return bundles;
  }

  async runDelete(bundle: Bundle, binary: string, limits: DeleteLimits): Promise<ShimOutput> {
    return await this.#deletes.run(bundle, binary, limits);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.connections[Symbol.asyncDispose]();
    this.#reaper[Symbol.dispose]();
  }

  /** Whether a binary is our shim, and one process of it takes many tasks and outlives each. */
  isPooled(binary: string): boolean {
    const { pooling, defaultShim, grouping } = this.options;
    return pooling === true && binary === defaultShim && (grouping ?? "pool") === "pool";
  }

  async #startProcess(bundle: Bundle, binary: string, start: StartOptions): Promise<ShimConnection> {
    const endpoint = parseBootstrapAnswer(await this.#runStart(bundle, binary, start));
    bundle.writeEndpoint(endpoint);
    return await this.connections.connect(endpoint, bundle.namespace, CONNECT_TIMEOUT_MS, { fresh: true });
  }

  async #runStart(bundle: Bundle, binary: string, start: StartOptions): Promise<Uint8Array> {
    // ours takes parameters: what fails for another reason is not to be done twice
    const known = this.#forms.get(binary) ?? (this.isOwn(binary) ? "parameters" : undefined);
    const first = known ?? firstForm(binary);
    const answer = await this.#tryStart(bundle, binary, first, start);
    const second: StartForm = first === "parameters" ? "options" : "parameters";
    if (answer.status === 0) {
      this.#forms.set(binary, first);
      return answer.stdout;
    }
    if (known !== undefined || first === "options") throw startFailed(binary, textOf(answer));
    this.#log.debug("shim refuses bootstrap parameters, trying bare options", { binary, error: textOf(answer) });
    const retried = await this.#tryStart(bundle, binary, second, start);
    if (retried.status !== 0)
      throw startFailed(binary, `${textOf(retried)} (with bootstrap parameters: ${textOf(answer)})`);
    this.#forms.set(binary, second);
    return retried.stdout;
  }

  async #tryStart(bundle: Bundle, binary: string, form: StartForm, start: StartOptions): Promise<ShimOutput> {
    const stdin = startInput(form, {
      id: bundle.id,
      namespace: bundle.namespace,
      debug: this.options.debug ?? false,
      daemonVersion: this.options.daemonVersion ?? "",
      ttrpcAddress: this.options.ttrpcAddress,
      grpcAddress: this.options.grpcAddress,
      publishBinary: this.#publishBinary,
      socketDir: this.options.socketDir || (this.isOwn(binary) ? this.options.poolSocketDir : undefined),
      options: start.options,
    });
    return await this.#run(bundle, binary, {
      grouping: start.alone === true ? "container" : this.options.grouping,
      args: [...this.#debugFlag(), "start"],
      stdin,
      combine: true,
      timeoutMs: this.options.startTimeoutMs ?? 30_000,
    });
  }

  async runtimeInfo(binary: string, options: AnyValue | undefined, limits: CallOptions = {}): Promise<RuntimeInfo> {
    const stdin = options === undefined ? new Uint8Array(0) : toBinary(AnySchema, create(AnySchema, options));
    return parseRuntimeInfo(binary, await this.#runInfo(binary, stdin, limits));
  }

  #runInfo(binary: string, stdin = new Uint8Array(0), { signal }: CallOptions = {}): Promise<ShimOutput> {
    const { grpcAddress, ttrpcAddress } = this.options;
    const extra = this.#extraEnv(binary);
    const env = shimEnvironment(process.env, { grpcAddress, ttrpcAddress, namespace: "", extra });
    const command = { binary, args: ["-info"], cwd: "/", env, stdin, timeoutMs: INFO_TIMEOUT_MS };
    return runShimCommand(this.#reaper, { ...command, signal });
  }

  #delete({ bundle, binary, moreIds, ...limits }: DeleteRun): Promise<ShimOutput> {
    return this.#run(bundle, binary, {
      args: ["-bundle", bundle.path, ...this.#debugFlag(), "delete", ...moreIds],
      stdin: new Uint8Array(0),
      combine: false,
      ...limits,
    });
  }

  async #run(
    bundle: Bundle,
    binary: string,
    command: Pick<ShimCommand, "args" | "stdin" | "timeoutMs" | "onOutput"> & {
      combine: boolean;
      signal?: AbortSignal | undefined;
      grouping?: ShimGrouping | undefined;
    },
  ): Promise<ShimOutput> {
    const { namespace, id } = bundle;
    const { grpcAddress, ttrpcAddress } = this.options;
    const { grouping = this.options.grouping, ...rest } = command;
    const common = [
      "-namespace",
      namespace,
      "-address",
      grpcAddress,
      "-publish-binary",
      this.#publishBinary,
      "-id",
      id,
    ];
    const env = shimEnvironment(process.env, {
      grpcAddress,
      ttrpcAddress,
      namespace,
      extra: this.#extraEnv(binary, grouping),
    });
    try {
      return await runShimCommand(this.#reaper, {
        ...rest,
        binary,
        args: [...common, ...rest.args],
        cwd: bundle.path,
        env,
      });
    } catch (error) {
      throw wrapError(error, `run shim ${binary}`);
    }
  }

  endedEarly(binary: string, error: unknown): boolean {
    return this.isOwn(binary) && isUnavailable(error);
  }

  /** Whether a binary is the shim of berth, which groups tasks by itself. */
  isOwn(binary: string): boolean {
    return this.options.pooling === true && binary === this.options.defaultShim;
  }

  #extraEnv(binary: string, grouping = this.options.grouping): readonly string[] {
    const own: string[] = [];
    const { maxContainersPerShim, poolSocketDir, env = [] } = this.options;
    if (this.isOwn(binary)) {
      // containerd says 2 to all shims, whatever it speaks; ours takes the word at its value.
      own.push("MAX_SHIM_VERSION=3");
      if (grouping !== undefined) own.push(`BERTH_SHIM_GROUPING=${grouping}`);
      if (maxContainersPerShim !== undefined) own.push(`BERTH_SHIM_MAX_CONTAINERS=${maxContainersPerShim}`);
      if (poolSocketDir !== undefined) own.push(`BERTH_SHIM_SOCKET_DIR=${poolSocketDir}`);
    }
    return [...own, ...env];
  }

  #debugFlag(): readonly string[] {
    return this.options.debug === true ? ["-debug"] : [];
  }

  get #publishBinary(): string {
    return this.options.publishBinary ?? process.argv[1] ?? "berthd";
  }
}

function textOf(output: ShimOutput): string {
  const text = new TextDecoder().decode(output.stdout).trim();
  return text === "" ? `exit status ${output.status}` : text;
}

function startFailed(binary: string, why: string): Error {
  return unknown(`start shim ${binary}: ${why}`);
}
