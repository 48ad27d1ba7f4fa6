import { invalidArgument } from "@berth/errors";

/** What the command line of a shim says. Texts are empty where nothing was given. */
export interface ShimFlags {
  readonly namespace: string;
  /** Id of the container. */
  readonly id: string;
  /** gRPC address of the daemon. */
  readonly address: string;
  /** Binary of the daemon, which published events before ttrpc did. */
  readonly publishBinary: string;
  /** Path of the socket to serve on. */
  readonly socket: string;
  readonly debugSocket: string;
  readonly bundle: string;
  readonly debug: boolean;
  readonly version: boolean;
  readonly info: boolean;
  /** `start`, `delete`, or empty: serve. */
  readonly action: string;
  /** What stands behind the action. */
  readonly more: readonly string[];
}

const TEXTS = {
  namespace: "namespace",
  id: "id",
  address: "address",
  "publish-binary": "publishBinary",
  socket: "socket",
  "debug-socket": "debugSocket",
  bundle: "bundle",
} as const;
const SWITCHES = { debug: "debug", v: "version", info: "info" } as const;
const TRUE = new Set(["1", "t", "T", "true", "TRUE", "True"]);
const FALSE = new Set(["0", "f", "F", "false", "FALSE", "False"]);

/**
 * This reads a command line as Go's `flag` does: `-x=y` or `-x y`, one dash or two, up to the first word that is no flag.
 * @throws invalid_argument - a flag is unknown, lacks its value or is given one that it does not take
 */
export function parseShimFlags(args: readonly string[]): ShimFlags {
  const texts = { namespace: "", id: "", address: "", publishBinary: "", socket: "", debugSocket: "", bundle: "" };
  const switches = { debug: false, version: false, info: false };
  let at = 0;
  for (; at < args.length; at += 1) {
    const word = args[at] ?? "";
    const match = /^--?([^-=][^=]*)(?:=(.*))?$/su.exec(word);
    if (!match) break;
    const [, name = "", value] = match;
    if (Object.hasOwn(SWITCHES, name)) {
      // just checked: it is one of the keys
      switches[SWITCHES[name as keyof typeof SWITCHES]] = parseSwitch(name, value);
    } else if (Object.hasOwn(TEXTS, name)) {
      const next = value ?? args[(at += 1)];
      if (next === undefined) throw invalidArgument(`flag needs an argument: -${name}`);
      // just checked: it is one of the keys
      texts[TEXTS[name as keyof typeof TEXTS]] = next;
    } else throw invalidArgument(`flag provided but not defined: -${name}`);
  }
  if (args[at] === "--") at += 1;
  return { ...texts, ...switches, action: args[at] ?? "", more: args.slice(at + 1) };
}

function parseSwitch(name: string, value: string | undefined): boolean {
  if (value === undefined || TRUE.has(value)) return true;
  if (FALSE.has(value)) return false;
  throw invalidArgument(`invalid boolean value ${JSON.stringify(value)} for -${name}`);
}
