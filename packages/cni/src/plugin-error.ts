import { Code, ConnectError } from "@berth/errors";
import { z } from "zod";

/** What a plugin's error is called by, as the specification numbers them; from 100 on they are the plugin's own. */
export const CniErrorCode = {
  unknown: 0,
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  invalidEnvironment: 4,
  ioFailure: 5,
  decodingFailure: 6,
  invalidConfig: 7,
  invalidNetns: 8,
  tryAgainLater: 11,
  pluginNotAvailable: 50,
  limitedConnectivity: 51,
} as const;

const CLASSES: ReadonlyMap<number, Code> = new Map([
  [CniErrorCode.incompatibleVersion, Code.FailedPrecondition],
  [CniErrorCode.unsupportedField, Code.InvalidArgument],
  [CniErrorCode.unknownContainer, Code.NotFound],
  [CniErrorCode.invalidEnvironment, Code.InvalidArgument],
  [CniErrorCode.decodingFailure, Code.InvalidArgument],
  [CniErrorCode.invalidConfig, Code.InvalidArgument],
  [CniErrorCode.invalidNetns, Code.FailedPrecondition],
  [CniErrorCode.tryAgainLater, Code.Unavailable],
  [CniErrorCode.pluginNotAvailable, Code.Unavailable],
  [CniErrorCode.limitedConnectivity, Code.Unavailable],
]);

/** What a plugin told of its failure, or what is known of one that told nothing. */
export interface PluginFailure {
  /** One of {@link CniErrorCode}, or the plugin's own. */
  readonly code: number;
  readonly message: string;
  /** Empty where it gave none. */
  readonly details: string;
}

/** A plugin ran and failed. Its class follows from the code that it told; what it said is in `failure`. */
export class CniPluginError extends ConnectError {
  /** Its type, such as `bridge`. */
  readonly plugin: string;
  readonly failure: PluginFailure;

  /** That of its base goes by the name of the class, which this one keeps so that it passes for an error of a call. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === CniPluginError.prototype;
  }

  constructor(plugin: string, failure: PluginFailure) {
    const { code, message, details } = failure;
    super(details === "" ? message : `${message}; ${details}`, CLASSES.get(code) ?? Code.Unknown);
    this.plugin = plugin;
    this.failure = failure;
  }
}

/** This finds the failure of a plugin below what was wrapped around it. */
export function findPluginError(error: unknown): CniPluginError | undefined {
  for (let each = error; each instanceof Error; each = each.cause) if (each instanceof CniPluginError) return each;
  return undefined;
}

const FAILURE = z.object({
  code: z.int().nonnegative().default(CniErrorCode.unknown),
  msg: z.string().default(""),
  details: z.string().default(""),
});

/** This reads what a plugin wrote before it failed; whatever that is, something is told. */
export function parseFailure(stdout: string, stderr: string, ended: string): PluginFailure {
  const told = parseTold(stdout);
  if (told !== undefined) return told;
  const said = (stdout.trim() === "" ? stderr : stdout).trim();
  const message = said === "" ? `failed without a word (${ended})` : `failed (${ended}): ${said}`;
  return { code: CniErrorCode.unknown, message, details: "" };
}

function parseTold(stdout: string): PluginFailure | undefined {
  try {
    const { code, msg, details } = FAILURE.parse(JSON.parse(stdout));
    return msg === "" && details === "" && code === 0 ? undefined : { code, message: msg, details };
  } catch {
    return undefined;
  }
}
