import type { ContainerUpdate } from "@berth/api/nri/pkg/api/v1alpha1/adjustment";
import type { Container, PodSandbox } from "@berth/api/nri/pkg/api/v1alpha1/objects";
import { Plugin, Runtime } from "@berth/api/nri/pkg/api/v1alpha1/plugin";
import type {
  RegisterPluginRequest,
  UpdateContainersRequest,
  UpdateContainersResponseSchema,
} from "@berth/api/nri/pkg/api/v1alpha1/plugin";
import type { CallOptions } from "@berth/core/any";
import type { Logger } from "@berth/core/log";
import { raceSignal } from "@berth/core/race-signal";
import type { NriEvent, NriPluginInfo, NriRequest, NriResponse } from "@berth/core/nri";
import {
  deadlineExceeded,
  failedPrecondition,
  isDeadlineExceeded,
  isUnimplemented,
  messageOf,
  unavailable,
  wrapError,
} from "@berth/errors";
import type { TtrpcServer, TtrpcTransport } from "@berth/ttrpc";
import { createTtrpcServer, createTtrpcTransport, ttrpcService } from "@berth/ttrpc";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Client, HandlerContext } from "@connectrpc/connect";
import { createClient } from "@connectrpc/connect";
import type { Duplex } from "node:stream";

import { parseEventMask, stateChangeOf } from "../plugin-events.ts";
import type { PluginName } from "../plugin-name.ts";
import { checkPluginName, formatPluginName } from "../plugin-name.ts";
import { Multiplexer, MuxConnection } from "../wire/multiplexer.ts";
import { synchronizeInParts } from "./synchronize-in-parts.ts";

/** What every plugin is told of the runtime, and how long it may take. */
export interface PluginTerms {
  readonly runtimeName: string;
  readonly runtimeVersion: string;
  readonly registrationTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly log: Logger;
  /** What a plugin that takes part may ask for at any time. */
  updateContainers(
    request: UpdateContainersRequest,
    options: CallOptions,
  ): Promise<MessageInitShape<typeof UpdateContainersResponseSchema>>;
}

/** The version of NRI that this speaks: what plugins may rely on. */
const NRI_VERSION = "v0.12.2";

/** Who is at the other end. */
export interface PluginOrigin {
  /** Of a plugin that the daemon has started; others name themselves. */
  readonly installed?: PluginName & { readonly config: string };
  readonly pid: number;
}

/**
 * A plugin at the other end of a connection, which this owns: what it asks is answered, and it is told of events, until it is closed.
 * A plugin that breaks a rule, or takes too long, is closed; nothing but that is owed to it.
 */
export class PluginConnection implements NriPluginInfo {
  readonly preInstalled: boolean;
  readonly pid: number;
  readonly #terms: PluginTerms;
  readonly #config: string;
  readonly #multiplexer: Multiplexer;
  readonly #server: TtrpcServer;
  readonly #transport: TtrpcTransport;
  readonly #client: Client<typeof Plugin>;
  readonly #registered = Promise.withResolvers<void>();
  readonly #admitted = Promise.withResolvers<void>();
  readonly #closed = Promise.withResolvers<void>();
  #name: PluginName | undefined;
  #events: ReadonlySet<NriEvent> = new Set();
  #isClosed = false;

  constructor(socket: Duplex, origin: PluginOrigin, terms: PluginTerms) {
    this.pid = origin.pid;
    this.preInstalled = origin.installed !== undefined;
    this.#name = origin.installed;
    this.#config = origin.installed?.config ?? "";
    this.#terms = terms;
    this.#multiplexer = new Multiplexer(socket);
    this.#transport = createTtrpcTransport({ socket: this.#multiplexer.open(MuxConnection.plugin) });
    this.#client = createClient(Plugin, this.#transport);
    this.#server = createTtrpcServer({ services: [ttrpcService(Runtime, this.#runtime())] });
    void this.#server.serve(this.#multiplexer.open(MuxConnection.runtime));
    this.#registered.promise.catch(() => undefined);
    this.#admitted.promise.catch(() => undefined);
    void this.#multiplexer.closed.then(() => this.close("the connection has ended"));
  }

  get index(): string {
    return this.#name?.index ?? "??";
  }

  get name(): string {
    return this.#name?.name ?? "";
  }

  /** `<index>-<name>`. */
  get fullName(): string {
    return formatPluginName(this);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Resolves when the plugin is no longer asked. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  /**
   * This waits for the plugin to register, and configures it. When it throws, the plugin is closed.
   * @throws deadline_exceeded, unavailable, invalid_argument, or what the plugin answered
   */
  async start(): Promise<void> {
    try {
      await this.#withDeadline(this.#registered.promise, this.#terms.registrationTimeoutMs);
      const { runtimeName, runtimeVersion, registrationTimeoutMs, requestTimeoutMs } = this.#terms;
      const { events } = await this.#client.configure(
        {
          config: this.#config,
          runtimeName,
          runtimeVersion,
          registrationTimeout: BigInt(registrationTimeoutMs),
          requestTimeout: BigInt(requestTimeoutMs),
          NRIVersion: NRI_VERSION,
        },
        this.#limits(),
      );
      this.#events = parseEventMask(events);
    } catch (error) {
      this.close(`it was not started: ${messageOf(error)}`);
      throw wrapError(error, `start NRI plugin ${this.fullName}`);
    }
  }

  /** This tells the plugin of all that runs and returns what it wants changed. When it throws, the plugin is closed. */
  async synchronize(
    pods: readonly PodSandbox[],
    containers: readonly Container[],
  ): Promise<readonly ContainerUpdate[]> {
    try {
      return await synchronizeInParts(pods, containers, (part) => this.#client.synchronize(part, this.#limits()));
    } catch (error) {
      this.close(`it was not synchronized: ${messageOf(error)}`);
      throw wrapError(error, `synchronize NRI plugin ${this.fullName}`);
    }
  }

  /** From now on the plugin takes part, and what it asks for is done. */
  admit(): void {
    this.#admitted.resolve();
  }

  /**
   * This tells the plugin of an event; `undefined` when it does not want to know, or is gone after it. A validator that is gone has not
   * agreed: that is an error.
   *
   * @throws what the plugin answered
   */
  async tell<E extends NriEvent>(
    event: E,
    request: NriRequest<E>,
    options: CallOptions = {},
  ): Promise<NriResponse<E> | undefined> {
    if (this.#isClosed || !this.#events.has(event)) return undefined;
    try {
      return await this.#call(event, request, options);
    } catch (error) {
      options.signal?.throwIfAborted();
      const isGone = this.#isClosed || isDeadlineExceeded(error);
      if (isGone) this.close(`it did not answer ${event}: ${messageOf(error)}`);
      if (isGone && event !== "validateContainerAdjustment") return undefined;
      throw wrapError(error, `NRI plugin ${this.fullName}: ${event}`);
    }
  }

  /** This says farewell, if the plugin takes it in time, and closes it. */
  async shutdown(): Promise<void> {
    if (this.#isClosed) return;
    await this.#client.shutdown({}, this.#limits()).catch(() => undefined);
    this.close("the runtime stops");
  }

  /** This ends the connection; safe to call twice. */
  close(reason: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#terms.log.info("NRI plugin closed", { plugin: this.fullName, pid: this.pid, reason });
    this.#registered.reject(unavailable(reason));
    this.#admitted.reject(unavailable(reason));
    this.#transport.close();
    this.#multiplexer.close();
    void this.#server.close({ graceMs: 0 });
    this.#closed.resolve();
  }

  async #call<E extends NriEvent>(event: E, request: NriRequest<E>, options: CallOptions) {
    // The client has a function for each method of the service; TypeScript does not see that event and request belong together.
    const call = this.#client[event] as unknown as (
      request: NriRequest<E>,
      options: CallOptions & { readonly timeoutMs: number },
    ) => Promise<NriResponse<E>>;
    try {
      return await call(request, this.#limits(options));
    } catch (error) {
      if (!isUnimplemented(error) || event === "validateContainerAdjustment") throw error;
      await this.#tellAsStateChange(event, request, options);
      return undefined;
    }
  }

  /** How plugins were told before there was a call for each event; what was never told that way they cannot want. */
  async #tellAsStateChange(event: NriEvent, request: object, options: CallOptions): Promise<void> {
    const number = stateChangeOf(event);
    if (number === undefined) return;
    // Requests of these events have a pod, and a container or none.
    const { pod, container } = request as Pick<NriRequest<"startContainer">, "pod" | "container">;
    const change = { event: number, ...(pod && { pod }), ...(container && { container }) };
    await this.#client.stateChange(change, this.#limits(options)).catch((error: unknown) => {
      if (!isUnimplemented(error)) throw error;
    });
  }

  #runtime() {
    return {
      registerPlugin: (request: RegisterPluginRequest) => {
        this.#register(request);
        return {};
      },
      updateContainers: (request: UpdateContainersRequest, { signal }: HandlerContext) =>
        this.#updateContainers(request, signal),
    };
  }

  /** Asked for as soon as the plugin is configured, it waits until the plugin knows what runs. */
  async #updateContainers(request: UpdateContainersRequest, signal: AbortSignal) {
    if (this.#name === undefined) throw failedPrecondition("an NRI plugin that is not registered may not update");
    await raceSignal(this.#admitted.promise, signal);
    return await this.#terms.updateContainers(request, { signal });
  }

  #register(request: RegisterPluginRequest): void {
    // What has the name of a pre-installed plugin is known from its file.
    if (!this.preInstalled) {
      if (this.#name !== undefined) throw failedPrecondition(`NRI plugin ${this.fullName} is registered already`);
      const name = { index: request.pluginIdx, name: request.pluginName };
      try {
        checkPluginName(name);
      } catch (error) {
        this.#registered.reject(error);
        throw error;
      }
      this.#name = name;
    }
    const { fullName: plugin, pid } = this;
    this.#terms.log.info("NRI plugin registered", { plugin, pid, nriVersion: request.NRIVersion || "unknown" });
    this.#registered.resolve();
  }

  #limits({ signal }: CallOptions = {}): { readonly timeoutMs: number; readonly signal?: AbortSignal } {
    return { timeoutMs: this.#terms.requestTimeoutMs, ...(signal && { signal }) };
  }

  async #withDeadline(work: Promise<void>, timeoutMs: number): Promise<void> {
    const { promise, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => reject(deadlineExceeded(`no registration within ${timeoutMs} ms`)),
      Math.min(timeoutMs, 2 ** 31 - 1),
    );
    try {
      await Promise.race([work, promise]);
    } finally {
      clearTimeout(timer);
    }
  }
}
