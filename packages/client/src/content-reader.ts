import type { Client } from "@connectrpc/connect";
import type { Content } from "@berth/api/containerd/services/content/v1/content";
import type { CallOptions } from "@berth/core/any";
import type { ContentReader } from "@berth/core/content";
import { dataLoss, outOfRange } from "@berth/errors";
import type { Digest } from "@berth/oci";

import { callOptions } from "./call-options.ts";

/** Reads a blob of a remote store; holds nothing at the peer between calls. */
export class RemoteContentReader implements ContentReader {
  readonly size: number;
  readonly #client: Client<typeof Content>;
  readonly #digest: Digest;

  constructor(client: Client<typeof Content>, digest: Digest, size: number) {
    this.#client = client;
    this.#digest = digest;
    this.size = size;
  }

  async readAt(offset: number, length: number, options?: CallOptions): Promise<Uint8Array> {
    if (offset < 0 || length < 0) throw outOfRange(`read ${length} bytes at ${offset} of ${this.#digest}`);
    const wanted = Math.min(length, this.size - offset);
    // To the peer a size of 0 means "all the rest".
    if (wanted <= 0) return new Uint8Array(0);
    const request = { digest: this.#digest, offset: BigInt(offset), size: BigInt(wanted) };
    const bytes = new Uint8Array(wanted);
    let received = 0;
    for await (const { data } of this.#client.read(request, callOptions(options))) {
      if (received + data.length > wanted) throw dataLoss(`read ${this.#digest}: more than ${wanted} bytes came`);
      bytes.set(data, received);
      received += data.length;
    }
    if (received < wanted) throw dataLoss(`read ${this.#digest}: ${received} bytes came, not ${wanted}`);
    return bytes;
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
