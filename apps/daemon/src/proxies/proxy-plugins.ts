import { createContentClient } from "@berth/client/content";
import { createDiffClient } from "@berth/client/diff";
import { createSandboxControllerClient } from "@berth/client/sandbox-controller";
import { scopedTransport } from "@berth/client/scope";
import { createSnapshotsClient } from "@berth/client/snapshots";
import type { Transport } from "@berth/client/transport";
import { invalidArgument, messageOf, wrapError } from "@berth/errors";
import type { Logger } from "@berth/core/log";
import { hostPlatform, parsePlatform } from "@berth/oci";
import type { Plugin, PluginMeta, PluginType } from "@berth/plugin-core";
import { definePlugin, pluginUri } from "@berth/plugin-core";
import { ContentPlugin, DiffPlugin, SandboxControllerPlugin, SnapshotPlugin } from "@berth/plugin-core/types";

import type { DaemonConfig } from "../config/daemon-config.ts";
import { namespaceOfBackendName } from "./backend-name.ts";
import { ProxyConnections } from "./proxy-connections.ts";

type ProxySettings = DaemonConfig["proxy_plugins"][string];

/** What a kind of proxy is, and how it is made of a transport to the process that serves it. */
interface ProxyKind<T> {
  readonly type: PluginType<T>;
  /** Short names of the type, as `type` may have them. */
  readonly names: readonly string[];
  create(transport: Transport, name: string): T;
}

// Each kind makes what its own type asks for; the list only forgets which is which.
const KINDS: readonly ProxyKind<unknown>[] = [
  kind({
    type: SnapshotPlugin,
    names: ["snapshot", "snapshotter"],
    create: (transport, name) => createSnapshotsClient(transport, name, { namespaceOf: namespaceOfBackendName }),
  }),
  kind({
    type: ContentPlugin,
    names: ["content"],
    create: (transport) => createContentClient(transport, { namespaceOf: namespaceOfBackendName }),
  }),
  kind({
    type: DiffPlugin,
    names: ["diff"],
    create:
      (transport) =>
      (namespace, { lease } = {}) =>
        createDiffClient(scopedTransport(transport, { namespace, ...(lease === undefined ? {} : { lease }) })),
  }),
  kind({
    type: SandboxControllerPlugin,
    names: ["sandbox"],
    create: (transport, name) => createSandboxControllerClient(transport, name),
  }),
];

function kind<T>(definition: ProxyKind<T>): ProxyKind<T> {
  return definition;
}

/**
 * This makes a plugin of each `proxy_plugins` entry: a part of the daemon that another process serves on a socket. The process need
 * not run: calls fail with unavailable until it does, and again while it is away. An entry of an unknown type is logged and left out.
 *
 * @param builtIn the daemon's own plugins, which no proxy may replace unless they are disabled
 * @throws invalid_argument - an entry has the type and name of a plugin that is built in and not disabled
 * @see containerd cmd/containerd/server/server.go, LoadPlugins
 */
export function proxyPlugins(config: DaemonConfig, builtIn: readonly Plugin[], log: Logger): readonly Plugin[] {
  const connections = new ProxyConnections();
  const taken = new Set(builtIn.map(({ type, id }) => pluginUri(type, id)));
  for (const uri of config.disabled_plugins) taken.delete(uri);
  return Object.entries(config.proxy_plugins).flatMap(([name, settings]) => {
    const found = KINDS.find(({ type, names }) => type.name === settings.type || names.includes(settings.type));
    if (found === undefined) {
      log.warn("unknown proxy plugin type", { plugin: name, type: settings.type });
      return [];
    }
    const uri = pluginUri(found.type, name);
    if (taken.has(uri)) {
      throw invalidArgument(`proxy_plugins.${name}: plugin ${uri} is built in; choose another name`);
    }
    return [proxyPlugin(found, name, settings, connections)];
  });
}

function proxyPlugin<T>(
  { type, create }: ProxyKind<T>,
  name: string,
  settings: ProxySettings,
  connections: ProxyConnections,
): Plugin {
  return definePlugin({
    type,
    id: name,
    init({ meta, resources, log }) {
      describeProxy(meta, settings, (error) => {
        log.warn("skipping proxy platform with bad platform", { plugin: name, error: messageOf(error) });
      });
      try {
        return create(resources.use(connections.share(settings.address)).transport, name);
      } catch (error) {
        throw wrapError(error, `proxy ${name} at ${settings.address}`);
      }
    },
  });
}

function describeProxy(meta: PluginMeta, settings: ProxySettings, onBadPlatform: (error: unknown) => void): void {
  const { address, capabilities, exports, platform } = settings;
  for (const [key, value] of Object.entries(exports)) meta.exports.set(key, value);
  meta.exports.set("address", address);
  meta.capabilities.push(...capabilities);
  try {
    meta.platforms.push(platform === "" ? hostPlatform() : parsePlatform(platform));
  } catch (error) {
    onBadPlatform(error);
  }
}
