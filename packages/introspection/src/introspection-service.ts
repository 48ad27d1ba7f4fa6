import { readlink } from "node:fs/promises";

import type { Introspection, Plugin } from "@berth/api/containerd/services/introspection/v1/introspection";
import { PluginSchema, ServerResponseSchema } from "@berth/api/containerd/services/introspection/v1/introspection";
import { PlatformSchema } from "@berth/api/containerd/types/platform";
import { StatusSchema } from "@berth/api/google/rpc/status";
import type { DeprecationLog, PluginRecord } from "@berth/core/introspection";
import { toProtoLabels } from "@berth/core/labels";
import { toProtoPlatform } from "@berth/core/proto-descriptor";
import { codeOf, failedPrecondition, messageOf, notFound, unimplemented } from "@berth/errors";
import { adapt, parseFilters } from "@berth/filters";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";

/** What the introspection service shows. */
export interface IntrospectionSources {
  /** All plugins, in order of initialisation; read at each call. */
  readonly records: readonly PluginRecord[];
  readonly deprecations: DeprecationLog;
  /** This returns the identity of the daemon's root. */
  uuid(): Promise<string>;
}

/** This answers what the daemon is made of. @see containerd plugins/services/introspection */
export function createIntrospectionService(sources: IntrospectionSources): ServiceImpl<typeof Introspection> {
  return {
    plugins({ filters }) {
      const filter = parseFilters(filters);
      const wanted = sources.records.filter(({ type, id }) => filter.matches(adapt({ type, id })));
      return { plugins: wanted.map(toProtoPlugin) };
    },
    async server() {
      return create(ServerResponseSchema, {
        uuid: await sources.uuid(),
        pid: BigInt(process.pid),
        pidns: await pidNamespace(),
        deprecations: sources.deprecations.list().map(({ id, message, lastOccurrence }) => ({
          id,
          message,
          lastOccurrence: timestampFromMs(lastOccurrence),
        })),
      });
    },
    async pluginInfo({ type, id, options }, { signal }) {
      const record = sources.records.find((candidate) => candidate.type === type && candidate.id === id);
      if (record === undefined) throw notFound(`plugin ${type}.${id}`);
      // Only what the plugin itself would answer to the options needs one that runs.
      if (options === undefined) return { plugin: toProtoPlugin(record) };
      if (record.status !== "loaded")
        throw failedPrecondition(`plugin ${type}.${id} is not loaded: ${messageOf(record.error)}`);
      if (record.info === undefined) throw unimplemented(`plugin ${type}.${id} gives no information beyond its record`);
      return { plugin: toProtoPlugin(record), extra: await record.info(options, { signal }) };
    },
  };
}

function toProtoPlugin(record: PluginRecord): Plugin {
  const { type, id, requires, platforms, exports, capabilities, error } = record;
  const plugin = create(PluginSchema, { type, id, requires: [...requires], capabilities: [...capabilities] });
  plugin.platforms = platforms.map((platform) => create(PlatformSchema, toProtoPlatform(platform)));
  plugin.exports = toProtoLabels(exports);
  if (error !== undefined) plugin.initErr = create(StatusSchema, { code: codeOf(error), message: messageOf(error) });
  return plugin;
}

/** The inode of this process's pid namespace: two daemons with the same number see the same pids. */
async function pidNamespace(): Promise<bigint> {
  const link = await readlink("/proc/self/ns/pid");
  return BigInt(/\[(\d+)\]/.exec(link)?.[1] ?? 0);
}
