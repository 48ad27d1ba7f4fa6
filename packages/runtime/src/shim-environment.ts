/** What shims are told through their environment. */
export interface ShimEnvironmentOptions {
  readonly grpcAddress: string;
  readonly ttrpcAddress: string;
  readonly namespace: string;
  /** Further `KEY=value`, from the configuration; they win. */
  readonly extra: readonly string[];
}

// What belongs to the daemon alone: its service manager's sockets and the settings of its Node.
const PRIVATE = /^(?:NOTIFY_SOCKET$|LISTEN_|NODE_)/;

/** This makes the environment of a shim from that of the daemon. */
export function shimEnvironment(
  inherited: Readonly<Record<string, string | undefined>>,
  options: ShimEnvironmentOptions,
): Record<string, string> {
  const env: Record<string, string> = Object.create(null);
  for (const [key, value] of Object.entries(inherited)) {
    if (value !== undefined && !PRIVATE.test(key)) env[key] = value;
  }
  env["GOMAXPROCS"] = "2";
  env["MAX_SHIM_VERSION"] = "2";
  env["TTRPC_ADDRESS"] = options.ttrpcAddress;
  env["GRPC_ADDRESS"] = options.grpcAddress;
  env["NAMESPACE"] = options.namespace;
  for (const pair of options.extra) {
    const at = pair.indexOf("=");
    if (at > 0) env[pair.slice(0, at)] = pair.slice(at + 1);
  }
  return env;
}
