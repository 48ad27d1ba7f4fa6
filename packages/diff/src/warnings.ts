import type { Warning } from "./entry-metadata.ts";

const MAX_WARNINGS = 20;

/** Warnings of one layer: the first ones, and how many there were. */
export class Warnings {
  readonly #first: Warning[] = [];
  #count = 0;

  readonly add = (warning: Warning): void => {
    if (this.#count++ < MAX_WARNINGS) this.#first.push(warning);
  };

  get summary(): { readonly warnings: readonly Warning[]; readonly warningCount: number } {
    return { warnings: this.#first, warningCount: this.#count };
  }
}
