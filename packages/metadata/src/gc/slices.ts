/** How long one slice may hold the event loop. */
const SLICE_MS = 4;
/** Steps between two looks at the clock. */
const STEPS_PER_LOOK = 32;

/** This repeats `step` until it returns false, and lets others run in between. */
export async function inSlices(step: () => boolean): Promise<void> {
  while (runSlice(step)) await nextTurn();
}

/** This repeats `step` until it returns false or the time of one slice is over, and says whether it may go on. */
export function runSlice(step: () => boolean): boolean {
  const deadline = performance.now() + SLICE_MS;
  for (let steps = 1; step(); steps++) {
    if (steps % STEPS_PER_LOOK === 0 && performance.now() >= deadline) return true;
  }
  return false;
}

/** This lets everything run that waits for the event loop. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
