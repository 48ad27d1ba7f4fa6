/** How the text of a flag is read. */
export type FlagKind = "boolean" | "string" | "list" | "integer" | "number" | "duration";

/** One flag of a command. Its name is its key in {@link Flags}, without dashes. */
export interface Flag<T = unknown> {
  readonly kind: FlagKind;
  readonly help: string;
  /** What it is when nobody gives it. */
  readonly initial: T;
  /** Other names; one letter or whole words. */
  readonly aliases: readonly string[];
  /** What it may be, where that is one of a few words: offered to who completes a line. */
  readonly values?: readonly string[];
  /** What of the daemon's it may name: offered likewise. */
  readonly names?: "namespaces" | "snapshotters";
  /** Environment variable that is read when the flag is not given. */
  readonly env?: string;
  /** Known to containerd's ctr but not to this one: giving it is an error that tells this reason. */
  readonly unsupported?: string;
}

export type Flags = Readonly<Record<string, Flag>>;

/** The values of flags, by name. */
export type FlagValues<F extends Flags> = { readonly [N in keyof F]: F[N] extends Flag<infer T> ? T : never };

interface FlagExtras<T> {
  readonly aliases?: readonly string[];
  readonly env?: string;
  readonly initial?: T;
  readonly values?: readonly string[];
  readonly names?: "namespaces" | "snapshotters";
}

/** This makes a flag that is given or not; `--name=false` takes it back. */
export function booleanFlag(help: string, extras: FlagExtras<boolean> = {}): Flag<boolean> {
  return { kind: "boolean", help, initial: false, aliases: [], ...extras };
}

/** This makes a flag with a text; empty when not given. */
export function stringFlag(help: string, extras: FlagExtras<string> = {}): Flag<string> {
  return { kind: "string", help, initial: "", aliases: [], ...extras };
}

/** This makes a flag that may be repeated. */
export function listFlag(help: string, extras: FlagExtras<readonly string[]> = {}): Flag<readonly string[]> {
  return { kind: "list", help, initial: [], aliases: [], ...extras };
}

/** This makes a flag with a whole number; `0x10` and `0o17` are understood. */
export function integerFlag(help: string, extras: FlagExtras<number> = {}): Flag<number> {
  return { kind: "integer", help, initial: 0, aliases: [], ...extras };
}

/** This makes a flag with a number that may have a fraction. */
export function numberFlag(help: string, extras: FlagExtras<number> = {}): Flag<number> {
  return { kind: "number", help, initial: 0, aliases: [], ...extras };
}

/** This makes a flag with a length of time such as `1h30m` or `500ms`; its value is milliseconds. */
export function durationFlag(help: string, extras: FlagExtras<number> = {}): Flag<number> {
  return { kind: "duration", help, initial: 0, aliases: [], ...extras };
}

/** This names a flag of containerd's ctr that is refused with a reason, so that it is never silently without effect. */
export function unsupportedFlag(
  reason: string,
  kind: FlagKind = "string",
  aliases: readonly string[] = [],
): Flag<never> {
  // The parser throws before anybody can read the value.
  return { kind, help: reason, initial: undefined as never, aliases, unsupported: reason };
}
