/** What most mounts have to tell those after them. */
export const noData: ReadonlyMap<string, string> = new Map();
