import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";

import type { CallOptions } from "@berth/core/any";
import { writeFileDurably } from "@berth/core/durable-files";
import { makeDirectories } from "@berth/core/make-directories";
import { systemErrorCode } from "@berth/errors";
import { z } from "zod";

import type { NetworkConfig } from "./network-config.ts";
import type { CniResult } from "./result.ts";
import { formatResult, readResult } from "./result.ts";

/** What a container was attached to, and how: what the plugins must be told again when it goes. */
export interface Attachment {
  readonly network: string;
  readonly containerId: string;
  readonly ifName: string;
  /** Empty where the namespace is gone. */
  readonly netns: string;
  readonly args: readonly (readonly [name: string, value: string])[];
  /** By the name of the capability. */
  readonly capabilityArgs: Readonly<Record<string, unknown>>;
}

/** An attachment that is remembered, and what it came to. */
export interface CachedAttachment extends Attachment {
  /** Absent where it cannot be read. */
  readonly result: CniResult | undefined;
}

const KIND = "cniCacheV1";
const PAIR = z.tuple([z.string(), z.string()]);
const CACHED = z.object({
  kind: z.literal(KIND),
  containerId: z.string(),
  ifName: z.string().min(1),
  networkName: z.string().min(1),
  netns: z.string().default(""),
  cniArgs: z.array(PAIR).nullish(),
  capabilityArgs: z.record(z.string(), z.unknown()).nullish(),
  result: z.unknown(),
});

/**
 * The results of attachments, in files where other programs that follow the library in Go look for them, and in its form: what one attached another can detach.
 *
 * @see containernetworking/cni libcni/api.go, cachedInfo
 */
export class ResultCache {
  readonly #directory: string;

  /** @param directory - `/var/lib/cni` by convention; it is made when there is something to write */
  constructor(directory: string) {
    this.#directory = join(directory, "results");
  }

  /** This remembers an attachment. */
  async put(attachment: Attachment, network: NetworkConfig, result: CniResult): Promise<void> {
    await makeDirectories(this.#directory, 0o700);
    const { containerId, ifName, netns, args, capabilityArgs } = attachment;
    const cached = {
      kind: KIND,
      containerId,
      // Bytes in Go's JSON.
      config: Buffer.from(network.source).toString("base64"),
      ifName,
      networkName: network.name,
      netns,
      ...(args.length > 0 && { cniArgs: args }),
      ...(Object.keys(capabilityArgs).length > 0 && { capabilityArgs }),
      result: formatResult(result, network.cniVersion),
    };
    await writeFileDurably(this.#path(attachment), JSON.stringify(cached), 0o600);
  }

  /** This recalls an attachment; nothing where there is none, or its file is broken: a removal must go on without. */
  async find(
    attachment: Pick<Attachment, "network" | "containerId" | "ifName">,
  ): Promise<CachedAttachment | undefined> {
    return await this.#read(this.#path(attachment));
  }

  /** This forgets an attachment. */
  async delete(attachment: Pick<Attachment, "network" | "containerId" | "ifName">): Promise<void> {
    await rm(this.#path(attachment), { force: true });
  }

  /** This lists the attachments to a network, by the names of their files. */
  async *list(network: string, { signal }: CallOptions = {}): AsyncGenerator<CachedAttachment, void, undefined> {
    for (const name of await this.#names()) {
      signal?.throwIfAborted();
      const found = name.startsWith(`${network}-`) ? await this.#read(join(this.#directory, name)) : undefined;
      if (found?.network === network) yield found;
    }
  }

  async #names(): Promise<readonly string[]> {
    try {
      return (await readdir(this.#directory)).filter((name) => !name.endsWith(".tmp")).toSorted();
    } catch (error) {
      if (systemErrorCode(error) === "ENOENT") return [];
      throw error;
    }
  }

  /** The names were checked: see `checkAttachment`. */
  #path({ network, containerId, ifName }: Pick<Attachment, "network" | "containerId" | "ifName">): string {
    return join(this.#directory, `${network}-${containerId}-${ifName}`);
  }

  async #read(path: string): Promise<CachedAttachment | undefined> {
    try {
      const { result, ...cached } = CACHED.parse(JSON.parse(await readFile(path, "utf8")));
      return {
        network: cached.networkName,
        containerId: cached.containerId,
        ifName: cached.ifName,
        netns: cached.netns,
        args: cached.cniArgs ?? [],
        capabilityArgs: cached.capabilityArgs ?? {},
        result: tryRead(result),
      };
    } catch {
      // Not there, or of somebody who writes another form.
      return undefined;
    }
  }
}

function tryRead(value: unknown): CniResult | undefined {
  try {
    return readResult(value, "");
  } catch {
    return undefined;
  }
}
