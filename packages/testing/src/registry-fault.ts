import type { IncomingMessage } from "node:http";

/** What goes wrong with one answer. */
export type RegistryFault =
  /** Another status, and no content. */
  | {
      readonly kind: "status";
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
    }
  /** The connection ends, as it should at the end, after so many bytes of the content; the length was not told. */
  | { readonly kind: "truncate"; readonly after: number }
  /** The connection is reset after so many bytes, of what is sent to it in an upload. */
  | { readonly kind: "reset"; readonly after: number }
  /** Not even headers come. */
  | { readonly kind: "silence" }
  /** Nothing more comes, or is taken, after so many bytes. */
  | { readonly kind: "stall"; readonly after: number }
  /** All is done, and the connection reset instead of an answer; of uploads. */
  | { readonly kind: "lose-answer" }
  /** Right length, wrong bytes, from the first on or a later one. */
  | { readonly kind: "corrupt"; readonly from?: number }
  /** Bytes without end. */
  | { readonly kind: "endless" }
  /** A range is asked for and all is sent. */
  | { readonly kind: "ignore-range" }
  /** A range is asked for and all from its first byte on is sent. */
  | { readonly kind: "ignore-end" }
  /** Another range than the one that is asked for. */
  | { readonly kind: "wrong-range" }
  /** Headers that are added, or replace. */
  | { readonly kind: "headers"; readonly headers: Readonly<Record<string, string>> };

/** One request as it came. */
export interface RegistryRequestRecord {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage["headers"];
  /** How many of the same method and path came before. */
  readonly nth: number;
}
