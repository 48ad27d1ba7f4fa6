import type { ContainerUpdate } from "@berth/api/nri/pkg/api/v1alpha1/adjustment";
import type { Container, PodSandbox } from "@berth/api/nri/pkg/api/v1alpha1/objects";
import type { SynchronizeResponse } from "@berth/api/nri/pkg/api/v1alpha1/plugin";
import { failedPrecondition, isResourceExhausted } from "@berth/errors";

/** As few objects as a part may have; a message that holds no more is not cut any further. */
const FEWEST = 8;

interface Part {
  readonly pods: PodSandbox[];
  readonly containers: Container[];
  readonly more: boolean;
}

/**
 * This sends all pods and containers, in several messages where one is too large for ttrpc, and returns what the last answer asks for.
 *
 * @throws failed_precondition - the plugin does not understand that there is more to come
 * @throws resource_exhausted - a few objects are too large already
 * @see containerd nri pkg/adaptation/plugin.go, synchronize
 */
export async function synchronizeInParts(
  pods: readonly PodSandbox[],
  containers: readonly Container[],
  send: (part: Part) => Promise<SynchronizeResponse>,
): Promise<readonly ContainerUpdate[]> {
  let firstPod = 0;
  let firstContainer = 0;
  let size = Math.max(pods.length, containers.length);
  for (;;) {
    const part: Part = {
      pods: pods.slice(firstPod, firstPod + size),
      containers: containers.slice(firstContainer, firstContainer + size),
      more: firstPod + size < pods.length || firstContainer + size < containers.length,
    };
    let answer: SynchronizeResponse;
    try {
      answer = await send(part);
    } catch (error) {
      if (!isResourceExhausted(error) || part.pods.length + part.containers.length <= FEWEST) throw error;
      size = Math.max(Math.floor(size / 2), FEWEST / 2);
      continue;
    }
    if (!part.more) return answer.update;
    if (!answer.more || answer.update.length > 0) {
      throw failedPrecondition("the plugin does not understand that there is more to come");
    }
    firstPod += part.pods.length;
    firstContainer += part.containers.length;
  }
}
