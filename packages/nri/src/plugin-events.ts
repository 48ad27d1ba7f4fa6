import { Event } from "@berth/api/nri/pkg/api/v1alpha1/plugin";
import type { NriEvent } from "@berth/core/nri";
import { invalidArgument } from "@berth/errors";

/** The number of each event: its bit in the mask of a plugin's events is one less. */
const EVENT_NUMBERS: Readonly<Record<NriEvent, Event>> = {
  runPodSandbox: Event.RUN_POD_SANDBOX,
  stopPodSandbox: Event.STOP_POD_SANDBOX,
  removePodSandbox: Event.REMOVE_POD_SANDBOX,
  createContainer: Event.CREATE_CONTAINER,
  postCreateContainer: Event.POST_CREATE_CONTAINER,
  startContainer: Event.START_CONTAINER,
  postStartContainer: Event.POST_START_CONTAINER,
  updateContainer: Event.UPDATE_CONTAINER,
  postUpdateContainer: Event.POST_UPDATE_CONTAINER,
  stopContainer: Event.STOP_CONTAINER,
  removeContainer: Event.REMOVE_CONTAINER,
  updatePodSandbox: Event.UPDATE_POD_SANDBOX,
  postUpdatePodSandbox: Event.POST_UPDATE_POD_SANDBOX,
  validateContainerAdjustment: Event.VALIDATE_CONTAINER_ADJUSTMENT,
};

const ALL_EVENTS = (1 << (Event.LAST - 1)) - 1;

/** Events that had no call of their own once: plugins of that time are told of them by `StateChange`. */
const STATE_CHANGES: ReadonlySet<NriEvent> = new Set([
  "runPodSandbox",
  "postUpdatePodSandbox",
  "stopPodSandbox",
  "removePodSandbox",
  "postCreateContainer",
  "startContainer",
  "postStartContainer",
  "postUpdateContainer",
  "removeContainer",
]);

/** All names of events. */
// The keys are those of the literal above.
export const NRI_EVENTS = Object.keys(EVENT_NUMBERS) as readonly NriEvent[];

/** This returns the number under which `StateChange` knows an event, `undefined` for an event that it does not know. */
export function stateChangeOf(event: NriEvent): Event | undefined {
  return STATE_CHANGES.has(event) ? EVENT_NUMBERS[event] : undefined;
}

/** This writes a set of events as the mask that a plugin answers `Configure` with. */
export function formatEventMask(events: Iterable<NriEvent>): number {
  let mask = 0;
  for (const event of events) mask |= 1 << (EVENT_NUMBERS[event] - 1);
  return mask;
}

/** This reads such a mask; 0 stands for all events. @throws invalid_argument - a bit stands for no event */
export function parseEventMask(mask: number): ReadonlySet<NriEvent> {
  if ((mask & ~ALL_EVENTS) !== 0)
    throw invalidArgument(`invalid events of an NRI plugin: 0x${(mask >>> 0).toString(16)}`);
  const bits = mask === 0 ? ALL_EVENTS : mask;
  return new Set(NRI_EVENTS.filter((event) => (bits & (1 << (EVENT_NUMBERS[event] - 1))) !== 0));
}
