import type { CallOptions } from "@berth/core/any";
import type { ContentStore } from "@berth/core/content";
import type { Namespace } from "@berth/core/namespaces";

import { type CheckpointDirectory, makeCheckpointDirectory, unpackCheckpoint } from "./checkpoint-files.ts";

/** Checkpoints out of the content store that tasks are to be restored from: each lies in a directory until its task was started. */
export class Restores {
  readonly #directories = new Map<string, CheckpointDirectory>();

  /** This unpacks a checkpoint; the caller keeps it for a task, or disposes it. @throws not_found, invalid_argument */
  async unpack(store: ContentStore, digest: string, options: CallOptions): Promise<CheckpointDirectory> {
    await using undo = new AsyncDisposableStack();
    const directory = undo.use(await makeCheckpointDirectory());
    await unpackCheckpoint(store, digest, directory.path, options);
    undo.move();
    return directory;
  }

  /** One that was kept for an earlier task of this name goes. */
  async keep(namespace: Namespace, id: string, directory: CheckpointDirectory): Promise<void> {
    await this.release(namespace, id);
    this.#directories.set(`${namespace}/${id}`, directory);
  }

  /** This removes the checkpoint of a task that was started, or is gone; there need not be one. */
  async release(namespace: Namespace, id: string): Promise<void> {
    const key = `${namespace}/${id}`;
    const directory = this.#directories.get(key);
    this.#directories.delete(key);
    await directory?.[Symbol.asyncDispose]();
  }
}
