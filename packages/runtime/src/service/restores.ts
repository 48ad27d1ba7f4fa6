import type { CallOptions } from "@berth/core/any";
import type { ContentStore } from "@berth/core/content";
import type { Namespace } from "@berth/core/namespaces";
import type { Task } from "@berth/core/runtime";
import { ignoreNotFound } from "@berth/errors";

import { type CheckpointDirectory, makeCheckpointDirectory, unpackCheckpoint } from "./checkpoint-files.ts";

interface KeptCheckpoint {
  readonly directory: CheckpointDirectory;
  /** Ends the watch over its task. */
  readonly watch: AbortController;
}

/** Checkpoints out of the content store that tasks are to be restored from: each lies in a directory until its task was started, or ends. */
export class Restores {
  readonly #kept = new Map<string, KeptCheckpoint>();

  /** This unpacks a checkpoint; the caller keeps it for a task, or disposes it. @throws not_found, invalid_argument */
  async unpack(store: ContentStore, digest: string, options: CallOptions): Promise<CheckpointDirectory> {
    await using undo = new AsyncDisposableStack();
    const directory = undo.use(await makeCheckpointDirectory());
    await unpackCheckpoint(store, digest, directory.path, options);
    undo.move();
    return directory;
  }

  /** One that was kept for an earlier task of this name goes. */
  async keep(task: Task, directory: CheckpointDirectory): Promise<void> {
    const { namespace, id } = task;
    await this.release(namespace, id);
    const kept = { directory, watch: new AbortController() };
    const key = `${namespace}/${id}`;
    this.#kept.set(key, kept);
    // Its shim may die, and nobody need start or delete a task.
    const end = task.wait({ signal: kept.watch.signal }).catch(ignoreNotFound);
    const release = async (): Promise<void> => {
      if (this.#kept.get(key) === kept) await this.release(namespace, id);
    };
    // A wait that fails says nothing of the task.
    void end.then(release).catch(() => {});
  }

  /** This removes the checkpoint of a task that was started, or is gone; there need not be one. */
  async release(namespace: Namespace, id: string): Promise<void> {
    const key = `${namespace}/${id}`;
    const kept = this.#kept.get(key);
    this.#kept.delete(key);
    kept?.watch.abort();
    await kept?.directory[Symbol.asyncDispose]();
  }
}
