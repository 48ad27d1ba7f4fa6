import type { CallOptions } from "@berth/core/any";
import type { Labels } from "@berth/core/labels";
import type { LeaseResource } from "@berth/core/leases";
import { isNotFound } from "@berth/errors";

import type { Client } from "./client.ts";

/** Options of {@link Client.lease}. */
export interface HoldLeaseOptions extends CallOptions {
  /** When the lease ends should this process not end it; 24 hours. */
  readonly expireMs?: number;
  readonly labels?: Labels;
  /** Wait in the end until what the lease alone held has been collected. */
  readonly sync?: boolean;
}

/**
 * A lease of this program's own, made by {@link Client.lease}. Disposing it deletes it, once, without any caller's signal: an operation that was aborted does not keep its garbage
 * for a day. What nothing else refers to by then may be collected.
 */
export class HeldLease implements AsyncDisposable {
  readonly id: string;
  /** A client on the same connection whose writes this lease holds. */
  readonly client: Client;
  readonly #sync: boolean;
  #ended: Promise<void> | undefined;

  /** For {@link Client.lease}, which has made the lease. */
  constructor(id: string, client: Client, sync: boolean) {
    this.id = id;
    this.client = client;
    this.#sync = sync;
  }

  /** This has the lease hold something that is there already, and what it refers to. @throws not_found - the lease has expired */
  async hold(resource: LeaseResource, options?: CallOptions): Promise<void> {
    await this.client.leases.addResource(this.id, resource, options);
  }

  /** This deletes the lease. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended ??= this.#end();
    await this.#ended;
  }

  async #end(): Promise<void> {
    try {
      await this.client.leases.delete(this.id, { sync: this.#sync });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
}
