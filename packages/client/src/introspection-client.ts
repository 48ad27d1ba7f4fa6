import type { Client, Transport } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Plugin, ServerResponse } from "@berth/api/containerd/services/introspection/v1/introspection";
import { Introspection } from "@berth/api/containerd/services/introspection/v1/introspection";
import type { AnyValue, CallOptions } from "@berth/core/any";
import type { ListOptions } from "@berth/core/content";
import type { DeprecationWarning, PluginRecord } from "@berth/core/introspection";
import { fromProtoTimestamp } from "@berth/core/timestamp";
import { createClient } from "@berth/rpc/client";

import { callOptions } from "./call-options.ts";
import { fromProtoAny, fromProtoInt, present, toProtoAny } from "./wire-values.ts";

/** What a daemon says of itself. */
export interface ServerInfo {
  readonly uuid: string;
  readonly pid: number;
  /** Inode of the pid namespace in which `pid` counts. */
  readonly pidNamespace: number;
  readonly deprecations: readonly DeprecationWarning[];
}

/** Asks a daemon about its parts. No call needs a namespace. */
export interface IntrospectionClient {
  /** This lists plugins in the order of initialisation; filter fields are `type` and `id`. */
  plugins(options?: ListOptions): Promise<readonly PluginRecord[]>;
  /** This asks the daemon who it is, and which features in use will go away. */
  server(options?: CallOptions): Promise<ServerInfo>;
  /** @throws not_found, failed_precondition - not loaded, unimplemented - it tells nothing of itself */
  pluginInfo(
    type: string,
    id: string,
    options?: CallOptions & { readonly request?: AnyValue },
  ): Promise<{ readonly plugin: PluginRecord; readonly extra?: AnyValue }>;
}

/** This makes an introspection client over `transport`. */
export function createIntrospectionClient(transport: Transport): IntrospectionClient {
  return new RemoteIntrospection(createClient(Introspection, transport));
}

class RemoteIntrospection implements IntrospectionClient {
  readonly #client: Client<typeof Introspection>;

  constructor(client: Client<typeof Introspection>) {
    this.#client = client;
  }

  async plugins(options?: ListOptions): Promise<readonly PluginRecord[]> {
    const { plugins } = await this.#client.plugins({ filters: [...(options?.filters ?? [])] }, callOptions(options));
    return plugins.map(fromProtoPlugin);
  }

  async server(options?: CallOptions): Promise<ServerInfo> {
    return fromProtoServer(await this.#client.server({}, callOptions(options)));
  }

  async pluginInfo(type: string, id: string, options?: CallOptions & { readonly request?: AnyValue }) {
    const request = options?.request;
    const { plugin, extra } = await this.#client.pluginInfo(
      { type, id, ...(request === undefined ? {} : { options: toProtoAny(request) }) },
      callOptions(options),
    );
    return {
      plugin: fromProtoPlugin(present(plugin, "plugin")),
      ...(extra === undefined ? {} : { extra: fromProtoAny(extra) }),
    };
  }
}

function fromProtoServer({ uuid, pid, pidns, deprecations }: ServerResponse): ServerInfo {
  return {
    uuid,
    pid: fromProtoInt(pid),
    pidNamespace: fromProtoInt(pidns),
    deprecations: deprecations.map(({ id, message, lastOccurrence }) => ({
      id,
      message,
      lastOccurrence: fromProtoTimestamp(lastOccurrence),
    })),
  };
}

function fromProtoPlugin(plugin: Plugin): PluginRecord {
  const { type, id, requires, platforms, capabilities, initErr } = plugin;
  return {
    type,
    id,
    requires,
    platforms: platforms.map(({ os, architecture, variant, osVersion, osFeatures }) => ({
      os,
      architecture,
      ...(variant === "" ? {} : { variant }),
      ...(osVersion === "" ? {} : { osVersion }),
      ...(osFeatures.length === 0 ? {} : { osFeatures }),
    })),
    exports: new Map(Object.entries(plugin.exports)),
    capabilities,
    ...(initErr === undefined
      ? { status: "loaded" }
      : {
          // Only the text tells a plugin that chose not to run from one that failed: this is the wire's own convention.
          status: initErr.message.includes("skip plugin") ? "skipped" : "failed",
          error: new ConnectError(initErr.message, Code[initErr.code] === undefined ? Code.Unknown : initErr.code),
        }),
  };
}
