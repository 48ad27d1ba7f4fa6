/** Where a shim is reached, and how. */
export interface ShimEndpoint {
  /** Newest version of the task API it serves. */
  readonly version: number;
  readonly address: string;
  readonly protocol: "ttrpc";
}

/** This writes the answer of `start` for a daemon that sent no bootstrap parameters: JSON since containerd 1.7, the bare address before. */
export function formatTextAnswer(endpoint: ShimEndpoint, maxVersion: number | undefined): string {
  if (maxVersion === undefined) return endpoint.address;
  return JSON.stringify({ ...endpoint, version: Math.min(endpoint.version, Math.max(2, maxVersion)) });
}
