import type { Flags, FlagValues } from "./flags.ts";
import type { Session } from "./session.ts";

/** What a command is given. */
export interface Invocation<F extends Flags> {
  readonly flags: FlagValues<F>;
  readonly args: readonly string[];
  readonly session: Session;
}

/** A command's own part: its flags, its help and what it does. Loaded only when the command is called. */
export interface Command<F extends Flags = Flags> {
  /** The arguments, as in `CONTAINER [<key>=<value>, ...]`; empty for none. */
  readonly usage: string;
  /** More than the one line of the command list. */
  readonly description?: string;
  readonly examples?: readonly string[];
  readonly flags: F;
  /** Returns the exit code, 0 when it returns nothing. */
  readonly run: (invocation: Invocation<F>) => Promise<number | void>;
}

/** This types the flags of a command by its definitions. */
export function defineCommand<const F extends Flags>(command: Command<F>): Command {
  // The parser makes the values from these very definitions.
  return command as unknown as Command;
}
