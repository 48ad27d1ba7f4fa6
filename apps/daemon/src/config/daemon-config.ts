import { goDuration } from "@berth/plugin-core";
import { z } from "zod";

/** The newest layout of the configuration file that is understood. */
export const CONFIG_VERSION = 4;

const proxyPlugin = z.object({
  type: z.string(),
  address: z.string().min(1, "must not be empty"),
  platform: z.string().default(""),
  exports: z.record(z.string(), z.string()).default({}),
  capabilities: z.array(z.string()).default([]),
});

const streamProcessor = z.object({
  accepts: z.array(z.string()).default([]),
  returns: z.string().default(""),
  path: z.string().default(""),
  args: z.array(z.string()).default([]),
  env: z.array(z.string()).default([]),
});

/** Time limits of single steps, as containerd names them. */
const DEFAULT_TIMEOUTS: Readonly<Record<string, string>> = {
  "io.containerd.timeout.bolt.open": "0s",
  "io.containerd.timeout.cri.defercleanup": "1m0s",
  "io.containerd.timeout.metrics.shimstats": "2s",
  "io.containerd.timeout.shim.cleanup": "5s",
  "io.containerd.timeout.shim.load": "5s",
  "io.containerd.timeout.shim.shutdown": "3s",
  "io.containerd.timeout.task.state": "2s",
};

/** Levels of logging, as containerd names them. */
export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "panic"] as const;

/**
 * The keys of the configuration file outside the tables of plugins, with their defaults.
 *
 * @see containerd cmd/containerd/server/config, Config
 */
export const daemonConfigSchema = z.object({
  version: z.number().int().default(CONFIG_VERSION),
  root: z.string().default("/var/lib/berth"),
  state: z.string().default("/run/berth"),
  temp: z.string().default(""),
  disabled_plugins: z.array(z.string()).default([]),
  required_plugins: z.array(z.string()).default([]),
  oom_score: z.number().int().min(-1000).max(1000).default(0),
  cgroup: z.object({ path: z.string().default("") }).prefault({}),
  imports: z.array(z.string()).default(["/etc/berth/conf.d/*.toml"]),
  debug: z
    .object({
      level: z.enum(["", ...LOG_LEVELS]).default(""),
      format: z.enum(["", "text", "json"]).default(""),
    })
    .prefault({}),
  plugins: z.record(z.string(), z.unknown()).default({}),
  proxy_plugins: z.record(z.string(), proxyPlugin).default({}),
  stream_processors: z.record(z.string(), streamProcessor).default({}),
  timeouts: z
    .record(z.string(), goDuration)
    .default({})
    .transform((timeouts) => ({ ...DEFAULT_TIMEOUTS, ...timeouts })),
});

/** The configuration of the daemon, complete and checked; tables of plugins are checked by the plugins. */
export type DaemonConfig = z.infer<typeof daemonConfigSchema>;
