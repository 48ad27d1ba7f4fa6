import type { KeyValue } from "@berth/api/ttrpc/ttrpc";
import type { HeadersInit } from "@berth/core/headers";
import { headerPairs } from "@berth/core/headers";

/** A key and its value as they go into a request; a repeated key is several of them. */
export type MetadataPair = Pick<KeyValue, "key" | "value">;

/** This writes headers as metadata; keys are lower case. */
export function toMetadata(init: HeadersInit | undefined): MetadataPair[] {
  return init === undefined ? [] : headerPairs(init).map(([key, value]) => ({ key, value }));
}

/** This reads metadata as headers; pairs that no header can hold are left out. */
export function fromMetadata(pairs: readonly MetadataPair[]): Headers {
  const headers = new Headers();
  for (const { key, value } of pairs) {
    try {
      headers.append(key, value);
    } catch {
      // Any text may be metadata, not every text is a header: no handler of ours reads such a key.
    }
  }
  return headers;
}
