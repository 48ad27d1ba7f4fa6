import { invalidArgument } from "@berth/errors";

import type { CallOptions } from "./any.ts";
import type { Labels } from "./labels.ts";

declare const namespaceBrand: unique symbol;

/** The name of a namespace: every object but a namespace itself lives in one. Made only by {@link parseNamespace}. */
export type Namespace = string & { readonly [namespaceBrand]: true };

/** The namespace that clients use when none is named. */
export const DEFAULT_NAMESPACE = "default";

const IDENTIFIER = /^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$/;
const MAX_IDENTIFIER_LENGTH = 76;

/**
 * This checks the identifier rule of namespaces, container ids, lease ids and topic parts, and returns `text`.
 *
 * @throws invalid_argument - empty, longer than 76 characters, or of another form than `a1[._-]b2…`
 * @see containerd pkg/identifiers, Validate
 */
export function validateIdentifier(text: string, what = "identifier"): string {
  if (text === "") throw invalidArgument(`${what} must not be empty`);
  if (text.length > MAX_IDENTIFIER_LENGTH) {
    throw invalidArgument(
      `${what} ${JSON.stringify(`${text.slice(0, MAX_IDENTIFIER_LENGTH)}…`)} greater than maximum length (${MAX_IDENTIFIER_LENGTH} characters)`,
    );
  }
  if (!IDENTIFIER.test(text)) throw invalidArgument(`${what} ${JSON.stringify(text)} must match ${IDENTIFIER.source}`);
  return text;
}

/** This checks the name of a namespace and brands it. @throws invalid_argument - see {@link validateIdentifier} */
export function parseNamespace(text: string): Namespace {
  // validateIdentifier is the only rule of the brand.
  return validateIdentifier(text, "namespace") as Namespace;
}

/** A namespace with its labels. */
export interface NamespaceRecord {
  readonly name: Namespace;
  readonly labels: Labels;
}

/** Options of {@link NamespaceStore.setLabels}. */
export interface SetLabelsOptions extends CallOptions {
  /** What the event tells of the labels; without it those that were set. */
  readonly told?: Labels;
}

/**
 * Keeps the namespaces. A namespace comes into being by writing any object in it; its record here only carries labels.
 *
 * @see containerd pkg/namespaces/store.go, Store
 */
export interface NamespaceStore {
  /** @throws already_exists, invalid_argument */
  create(name: Namespace, labels: Labels, options?: CallOptions): Promise<void>;
  /** This returns the labels, none for an unknown namespace: never not_found. */
  labels(name: Namespace, options?: CallOptions): Promise<Labels>;
  /**
   * This sets labels, all or none, and brings the namespace into being unless there are none; an empty value deletes its label.
   * @throws invalid_argument
   */
  setLabels(name: Namespace, labels: Labels, options?: SetLabelsOptions): Promise<void>;
  /** This lists the names in byte order. */
  list(options?: CallOptions): AsyncIterable<Namespace>;
  /**
   * This removes an empty namespace.
   *
   * @throws not_found
   * @throws failed_precondition - images, blobs, containers or snapshots are left; the message names which
   */
  delete(name: Namespace, options?: CallOptions): Promise<void>;
}
