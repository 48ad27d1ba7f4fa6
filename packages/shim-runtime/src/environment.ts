import { DEFAULT_SHIM_SOCKET_DIR } from "@berth/core/shim-names";
import { invalidArgument } from "@berth/errors";

/** How containers are shared out among shim processes. */
export type Grouping = "pool" | "sandbox" | "container";

/** What the environment of a shim says. */
export interface ShimEnvironment {
  /** Where events are sent; empty for nowhere. */
  readonly ttrpcAddress: string;
  readonly grpcAddress: string;
  readonly namespace: string;
  /** The newest version of the task API that the daemon takes in a JSON answer; `undefined` before containerd 1.7. */
  readonly maxVersion: number | undefined;
  readonly grouping: Grouping;
  readonly maxContainers: number;
  readonly lingerMs: number;
  readonly socketDir: string;
  /** The program to start instead of this very script. */
  readonly self: string | undefined;
  /** The listener is open already: `start` has made it. */
  readonly inheritsListener: boolean;
}

const DEFAULT_MAX_CONTAINERS = 64;
const DEFAULT_LINGER_MS = 10_000;
const GROUPINGS: readonly Grouping[] = ["pool", "sandbox", "container"];

/** This reads the environment. @throws invalid_argument - a variable of berth's own has an impossible value */
export function parseShimEnvironment(env: NodeJS.ProcessEnv): ShimEnvironment {
  const grouping = GROUPINGS.find((name) => name === (env["BERTH_SHIM_GROUPING"] || "pool"));
  if (grouping === undefined) {
    throw invalidArgument(`BERTH_SHIM_GROUPING=${env["BERTH_SHIM_GROUPING"]}: not one of ${GROUPINGS.join(", ")}`);
  }
  return {
    ttrpcAddress: env["TTRPC_ADDRESS"] ?? "",
    grpcAddress: env["GRPC_ADDRESS"] ?? "",
    namespace: env["NAMESPACE"] ?? "",
    maxVersion: env["MAX_SHIM_VERSION"] ? wholeNumber("MAX_SHIM_VERSION", env["MAX_SHIM_VERSION"]) : undefined,
    grouping,
    maxContainers: Math.max(1, orDefault(env, "BERTH_SHIM_MAX_CONTAINERS", DEFAULT_MAX_CONTAINERS)),
    lingerMs: orDefault(env, "BERTH_SHIM_LINGER_MS", DEFAULT_LINGER_MS),
    socketDir: env["BERTH_SHIM_SOCKET_DIR"] || DEFAULT_SHIM_SOCKET_DIR,
    self: env["BERTH_SHIM_SELF"] || undefined,
    inheritsListener: env["BERTH_SHIM_LISTEN_FD"] !== undefined,
  };
}

function orDefault(env: NodeJS.ProcessEnv, name: string, otherwise: number): number {
  const text = env[name];
  return text ? wholeNumber(name, text) : otherwise;
}

function wholeNumber(name: string, text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw invalidArgument(`${name}=${text}: not a whole number`);
  return Number(text);
}
