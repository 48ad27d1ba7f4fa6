import type { Command } from "./command.ts";

/** A command that can be called. */
export interface Leaf {
  readonly name: string;
  readonly aliases?: readonly string[];
  readonly summary: string;
  readonly load: () => Promise<Command>;
}

/** A name under which there are commands. */
export interface Group {
  readonly name: string;
  readonly aliases?: readonly string[];
  readonly summary: string;
  readonly commands: readonly (Leaf | Group)[];
  /** Flags that may also stand between the group's name and the command's; the commands have them too. */
  readonly sharedFlags?: readonly string[];
}

export type Entry = Leaf | Group;
