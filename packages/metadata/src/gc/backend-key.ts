/**
 * This returns the sequence number in `<namespace>/<sequence>/<name>`, `undefined` for names that this layer does not make.
 */
export function backendSequence(text: string): bigint | undefined {
  const match = /^[^/]+\/([1-9]\d{0,18})\//.exec(text);
  return match?.[1] === undefined ? undefined : BigInt(match[1]);
}

/** This returns `<namespace>/<sequence>/`, which a snapshot keeps when it is committed; `undefined` as above. */
export function backendPrefix(text: string): string | undefined {
  return backendSequence(text) === undefined ? undefined : /^[^/]+\/\d+\//.exec(text)?.[0];
}

/** Tells what the collector may remove from a backend where no record names it. */
export interface OrphanPolicy {
  /** Numbers from this one on were given out by this process. */
  readonly firstSequence: bigint;
  /** When this process began, milliseconds since 1970. */
  readonly startedAt: number;
  /** When the database was made over what backends held then, milliseconds since 1970; 0 where they held nothing. */
  readonly madeOverBackendsAt: number;
}

/** This says whether something in a backend is older than the database: another one knew it, which is lost. */
export function isOfLostDatabase(
  { madeOverBackendsAt }: Pick<OrphanPolicy, "madeOverBackendsAt">,
  createdAt: number,
): boolean {
  return createdAt < madeOverBackendsAt;
}

/**
 * This says whether something in a backend that no record names is ours to remove: it has a number of ours, or it was made
 * before this process began. Anything younger may belong to somebody who works on the backend beside us.
 */
export function isOrphan(policy: OrphanPolicy, name: string, createdAt: number): boolean {
  if (isOfLostDatabase(policy, createdAt)) return false;
  const sequence = backendSequence(name);
  return (sequence !== undefined && sequence >= policy.firstSequence) || createdAt < policy.startedAt;
}
