import { RuntimeInfoSchema } from "@berth/api/containerd/types/introspection";
import type { Logger } from "@berth/core/log";
import { unknown } from "@berth/errors";
import { fromBinary } from "@bufbuild/protobuf";

import type { ShimOutput } from "./shim-command.ts";

/** Annotation of a runtime: types of mounts that it makes itself, with commas between. */
const ALLOWED_MOUNTS = "containerd.io/runtime-allow-mounts";

/** Tells which types of mounts shims make themselves; each binary is asked once, with `-info`. */
export class AllowedMounts {
  readonly #runInfo: (binary: string) => Promise<ShimOutput>;
  readonly #log: Logger;
  readonly #known = new Map<string, Promise<readonly string[]>>();

  constructor(runInfo: (binary: string) => Promise<ShimOutput>, log: Logger) {
    this.#runInfo = runInfo;
    this.#log = log;
  }

  /** This never fails: a shim that does not tell makes none. One that could not be run is asked again the next time. */
  async of(binary: string): Promise<readonly string[]> {
    let asked = this.#known.get(binary);
    if (asked === undefined) this.#known.set(binary, (asked = this.#ask(binary)));
    try {
      return await asked;
    } catch (error) {
      this.#known.delete(binary);
      this.#log.warn("failed to load runtime info", { binary, error });
      return [];
    }
  }

  async #ask(binary: string): Promise<readonly string[]> {
    const { status, stdout } = await this.#runInfo(binary);
    // Shims from before this flag say that they do not know it.
    if (status !== 0) return [];
    try {
      const { annotations } = fromBinary(RuntimeInfoSchema, stdout);
      const types = (annotations[ALLOWED_MOUNTS] ?? "").split(",").map((type) => type.trim());
      return types.filter((type) => type !== "");
    } catch (error) {
      throw unknown(`${binary} -info printed no runtime info`, { cause: error });
    }
  }
}
