import type { Digest } from "@berth/oci";

/** A file and the digest that its bytes should have. */
export interface HashJob {
  readonly path: string;
  readonly digest: Digest;
}

/** What came of a job; the inode tells whether the file of that path is still the one that was read. */
export type HashOutcome =
  | { readonly digest: Digest; readonly outcome: "sound" | "gone" }
  | { readonly digest: Digest; readonly outcome: "damaged"; readonly reason: string; readonly inode: number }
  | { readonly digest: Digest; readonly outcome: "unreadable"; readonly reason: string };
