import { create, isMessage } from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";
import { UpdateRequestSchema as UpdateContentSchema } from "@berth/api/containerd/services/content/v1/content";
import { WriteAction, WriteContentResponseSchema } from "@berth/api/containerd/services/content/v1/content";
import {
  CreateImageRequestSchema,
  DeleteImageRequestSchema,
  UpdateImageRequestSchema,
} from "@berth/api/containerd/services/images/v1/images";
import { DeleteRequestSchema as DeleteLeaseSchema } from "@berth/api/containerd/services/leases/v1/leases";
import {
  CommitSnapshotRequestSchema,
  RemoveSnapshotRequestSchema,
} from "@berth/api/containerd/services/snapshots/v1/snapshots";

const KEEPS_SNAPSHOT = "containerd.io/gc.ref.snapshot.";

/**
 * What a daemon has acknowledged: everything that its client may count on, whatever happens to the daemon. What was asked for and
 * not answered is in neither state for sure, and not here.
 */
export class Ledger {
  /** Image → digest of its target. */
  readonly images = new Map<string, string>();
  /** Digest of an image's configuration → snapshot that it keeps. */
  readonly kept = new Map<string, { readonly snapshotter: string; readonly name: string }>();
  /** Blobs committed under a lease that nobody has asked to delete. */
  readonly heldBlobs = new Set<string>();
  /** Snapshots, likewise. */
  readonly heldSnapshots = new Map<string, { readonly snapshotter: string; readonly name: string }>();
  /** Snapshots that were made to stay. */
  readonly rootSnapshots = new Map<string, { readonly snapshotter: string; readonly name: string }>();

  /** This writes down what passes through a transport. */
  watch(transport: Transport): Transport {
    return {
      unary: async (method, signal, timeoutMs, header, input, contextValues) => {
        const request = create(method.input, input);
        this.#asked(request);
        const answer = await transport.unary(method, signal, timeoutMs, header, input, contextValues);
        this.#acknowledged(request);
        return answer;
      },
      stream: async (method, signal, timeoutMs, header, input, contextValues) => {
        const answer = await transport.stream(method, signal, timeoutMs, header, input, contextValues);
        return { ...answer, message: this.#watchAnswers(answer.message) };
      },
    };
  }

  /** What may be undone by a request is doubtful from the moment it is made. */
  #asked(request: unknown): void {
    if (isMessage(request, DeleteImageRequestSchema)) this.images.delete(request.name);
    if (isMessage(request, UpdateImageRequestSchema)) this.images.delete(request.image?.name ?? "");
    if (isMessage(request, RemoveSnapshotRequestSchema)) {
      this.heldSnapshots.delete(request.key);
      this.rootSnapshots.delete(request.key);
    }
    if (isMessage(request, DeleteLeaseSchema)) {
      this.heldBlobs.clear();
      this.heldSnapshots.clear();
    }
  }

  #acknowledged(request: unknown): void {
    if (isMessage(request, CreateImageRequestSchema) || isMessage(request, UpdateImageRequestSchema)) {
      this.images.set(request.image?.name ?? "", request.image?.target?.digest ?? "");
    }
    if (isMessage(request, CommitSnapshotRequestSchema)) {
      const { snapshotter, name, labels } = request;
      const isRoot = labels["containerd.io/gc.root"] !== undefined;
      (isRoot ? this.rootSnapshots : this.heldSnapshots).set(name, { snapshotter, name });
    }
    if (isMessage(request, UpdateContentSchema)) {
      for (const [key, name] of Object.entries(request.info?.labels ?? {})) {
        if (!key.startsWith(KEEPS_SNAPSHOT)) continue;
        this.kept.set(request.info?.digest ?? "", { snapshotter: key.slice(KEEPS_SNAPSHOT.length), name });
      }
    }
  }

  async *#watchAnswers<T>(answers: AsyncIterable<T>): AsyncGenerator<T, void, undefined> {
    for await (const answer of answers) {
      if (isMessage(answer, WriteContentResponseSchema) && answer.action === WriteAction.COMMIT) {
        this.heldBlobs.add(answer.digest);
      }
      yield answer;
    }
  }
}
