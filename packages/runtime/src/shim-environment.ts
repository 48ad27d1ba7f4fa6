import { childEnvironment } from "@berth/core/child-environment";

/** What shims are told through their environment. */
export interface ShimEnvironmentOptions {
  readonly grpcAddress: string;
  readonly ttrpcAddress: string;
  readonly namespace: string;
  /** Further `KEY=value`, from the configuration; they win. */
  readonly extra: readonly string[];
}

/** This makes the environment of a shim from that of the daemon. */
export function shimEnvironment(
  inherited: Readonly<Record<string, string | undefined>>,
  options: ShimEnvironmentOptions,
): Record<string, string> {
  const env = childEnvironment({ env: inherited });
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
