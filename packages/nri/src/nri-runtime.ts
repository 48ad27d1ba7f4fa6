import type { Server, Socket } from "node:net";

import type { CallOptions } from "@berth/core/any";
import { KeyedLock } from "@berth/core/keyed-lock";
import type { Logger } from "@berth/core/log";
import type { Nri, NriAnswer, NriDomain, NriEvent, NriPluginInfo, NriRequest } from "@berth/core/nri";
import { raceSignal } from "@berth/core/race-signal";
import { messageOf } from "@berth/errors";

import { Domains } from "./runtime/domains.ts";
import { findInstalledPlugins } from "./runtime/installed-plugins.ts";
import type { InstalledPlugin } from "./runtime/installed-plugins.ts";
import type { PluginConnection, PluginOrigin, PluginTerms } from "./runtime/plugin-connection.ts";
import { SyncGate } from "./runtime/sync-gate.ts";

/** How plugins are met. */
export interface NriOptions {
  /** What plugins are told of the runtime. */
  readonly runtimeName: string;
  readonly runtimeVersion: string;
  /** Directory of plugins that are started with the runtime. */
  readonly pluginPath: string;
  /** Directory of their configurations. */
  readonly pluginConfigPath: string;
  readonly registrationTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly log: Logger;
}

const EVENTS = "events";

/**
 * Plugins of NRI in this process. What only plugins need is loaded when the first one comes. Disposing it says farewell to all plugins
 * and ends those that it has started.
 */
export class LocalNri implements Nri, AsyncDisposable {
  readonly #options: NriOptions;
  readonly #terms: PluginTerms;
  readonly #domains: Domains;
  readonly #gate = new SyncGate();
  readonly #lock = new KeyedLock();
  readonly #connections = new Set<PluginConnection>();
  readonly #launched = new AsyncDisposableStack();
  readonly #stop = new AbortController();
  #plugins: readonly PluginConnection[] = [];
  #starting: Promise<void> = Promise.resolve();

  constructor(options: NriOptions) {
    this.#options = options;
    this.#domains = new Domains(options.log);
    this.#terms = {
      ...options,
      updateContainers: async (request, callOptions) => {
        using _alone = await this.#lock.acquire(EVENTS, callOptions);
        return { failed: await this.#domains.apply(request) };
      },
    };
  }

  get plugins(): readonly NriPluginInfo[] {
    return this.#plugins;
  }

  addDomain(domain: NriDomain): Disposable {
    return this.#domains.add(domain);
  }

  holdSynchronization(options: CallOptions = {}): Promise<Disposable> {
    return this.#gate.hold(options);
  }

  /** This starts the plugins that are installed. Events wait until each takes part, or has failed to; that is logged. */
  start(): void {
    this.#starting = this.#startInstalled().catch((error: unknown) =>
      this.#options.log.warn("no pre-installed NRI plugins", { error: messageOf(error) }),
    );
  }

  /** This takes plugins that connect. The listener stays the caller's. */
  accept(listener: Server): void {
    listener.on("connection", (socket) => {
      void this.#acceptOne(socket).catch((error: unknown) => {
        socket.destroy();
        if (!this.#stop.signal.aborted) {
          this.#options.log.warn("NRI plugin from outside not taken", { error: messageOf(error) });
        }
      });
    });
  }

  async *relay<E extends NriEvent>(
    event: E,
    request: NriRequest<E>,
    { signal }: CallOptions = {},
  ): AsyncIterable<NriAnswer<E>> {
    await raceSignal(this.#starting, signal);
    using _alone = await this.#lock.acquire(EVENTS, signal ? { signal } : {});
    for (const plugin of this.#plugins) {
      signal?.throwIfAborted();
      const response = await plugin.tell(event, request, signal ? { signal } : {});
      if (response !== undefined) yield { plugin: plugin.fullName, response };
    }
  }

  async notify<E extends NriEvent>(event: E, request: NriRequest<E>, options: CallOptions = {}): Promise<void> {
    for await (const _answer of this.relay(event, request, options));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#plugins.map((plugin) => plugin.shutdown()));
    for (const connection of this.#connections) connection.close("the runtime stops");
    await this.#starting;
    await this.#launched.disposeAsync();
  }

  async #startInstalled(): Promise<void> {
    const { pluginPath, pluginConfigPath, log } = this.#options;
    const installed = await findInstalledPlugins(pluginPath, pluginConfigPath, log);
    const started = await Promise.all(installed.map((plugin) => this.#startOne(plugin)));
    for (const connection of started) {
      if (connection === undefined) continue;
      await this.#admit(connection).catch((error: unknown) => this.#warnOf(connection.fullName, error));
    }
  }

  async #startOne(plugin: InstalledPlugin): Promise<PluginConnection | undefined> {
    try {
      const { launchPlugin } = await import("./runtime/launch-plugin.ts");
      if (this.#stop.signal.aborted) return undefined;
      const process = this.#launched.use(launchPlugin(plugin, { log: this.#options.log }));
      const connection = await this.#connect(process.socket, { installed: plugin, pid: process.pid });
      // A plugin that is sent away before the runtime stops is ended then.
      connection.closed
        .then(() => process[Symbol.asyncDispose]())
        .catch((error: unknown) => this.#warnOf(plugin.path, error));
      await connection.start();
      return connection;
    } catch (error) {
      this.#warnOf(plugin.path, error);
      return undefined;
    }
  }

  async #acceptOne(socket: Socket): Promise<void> {
    const { peerCredentials, socketFd } = await import("@berth/linux/sockets");
    const connection = await this.#connect(socket, { pid: peerCredentials(socketFd(socket)).pid });
    await connection.start();
    await raceSignal(this.#starting, this.#stop.signal);
    await this.#admit(connection);
  }

  async #connect(socket: Socket, origin: PluginOrigin): Promise<PluginConnection> {
    const { PluginConnection } = await import("./runtime/plugin-connection.ts");
    this.#stop.signal.throwIfAborted();
    const connection = new PluginConnection(socket, origin, this.#terms);
    this.#connections.add(connection);
    void connection.closed.then(() => {
      this.#connections.delete(connection);
      this.#plugins = this.#plugins.filter((plugin) => plugin !== connection);
    });
    return connection;
  }

  /** Nothing happens between what the plugin is told of the present and the first event that it sees. */
  async #admit(connection: PluginConnection): Promise<void> {
    using _open = await this.#gate.close();
    using _alone = await this.#lock.acquire(EVENTS);
    const { pods, containers } = await this.#domains.listAll();
    const update = await connection.synchronize(pods, containers);
    if (connection.isClosed) return;
    this.#plugins = [...this.#plugins, connection].toSorted((a, b) =>
      a.index < b.index ? -1 : a.index > b.index ? 1 : 0,
    );
    connection.admit();
    const { fullName: plugin, pid } = connection;
    this.#options.log.info("NRI plugin takes part", { plugin, pid });
    await this.#domains.apply({ update: [...update], evict: [] });
  }

  #warnOf(plugin: string, error: unknown): void {
    if (!this.#stop.signal.aborted) {
      this.#options.log.warn("pre-installed NRI plugin does not take part", { plugin, error: messageOf(error) });
    }
  }
}
