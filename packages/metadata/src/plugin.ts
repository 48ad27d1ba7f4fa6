import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import type { Plugin } from "@berth/plugin-core";
import { all, definePlugin, one, skipPlugin } from "@berth/plugin-core";
import { ContentPlugin, EventPlugin, GcPlugin, MetadataPlugin, SnapshotPlugin } from "@berth/plugin-core/types";

import { GcScheduler } from "./gc/scheduler.ts";
import { Metadata } from "./metadata.ts";
import { openMetadata } from "./open-metadata.ts";
import { metadataConfig, schedulerConfig, schedulerExports, schedulerOptions } from "./plugin-config.ts";
import { refuseForeignRoot } from "./refuse-foreign-root.ts";

export {
  containersServicePlugin,
  imagesServicePlugin,
  leasePlugin,
  leasesServicePlugin,
  namespacesServicePlugin,
  sandboxesServicePlugin,
  sandboxStorePlugin,
} from "./plugin-services.ts";

/** `metadata.v1 bolt`: the database in its directory below the root; the id is the one that containerd's files configure. */
export const metadataPlugin: Plugin = definePlugin({
  type: MetadataPlugin,
  id: "bolt",
  requires: { content: one(ContentPlugin), events: one(EventPlugin), snapshotters: all(SnapshotPlugin) },
  config: metadataConfig,
  init: async ({ plugins, config, rootDir, meta, host: { fatal }, resources, log }) => {
    await mkdir(rootDir, { recursive: true, mode: 0o700 });
    await refuseForeignRoot(rootDir);
    const path = join(rootDir, "meta.mdb");
    const { content_sharing_policy: sharingPolicy, no_sync: noSync } = config;
    meta.exports.set("policy", sharingPolicy).set("path", path);
    return resources.use(await openMetadata({ ...plugins, path, sharingPolicy, noSync, log, fatal }));
  },
});

/** `gc.v1 scheduler`: collects what the metadata database does not refer to. */
export const gcPlugin: Plugin = definePlugin({
  type: GcPlugin,
  id: "scheduler",
  requires: { metadata: one(MetadataPlugin) },
  config: schedulerConfig,
  init: ({ plugins, config, meta, resources, log }) => {
    if (!(plugins.metadata instanceof Metadata)) throw skipPlugin("the metadata store collects for itself");
    const scheduler = resources.use(new GcScheduler(plugins.metadata, { ...schedulerOptions(config), log }));
    for (const [name, value] of schedulerExports(config, scheduler)) meta.exports.set(name, value);
    return scheduler;
  },
});
