import type { ListOptions } from "@berth/core/content";
import type { Adaptor } from "@berth/filters";
import { parseFilters } from "@berth/filters";

/** This yields the records that a filter wants. @throws invalid_argument - a bad filter, before anything is yielded */
export async function* listRecords<R>(
  records: Iterable<R> | AsyncIterable<R>,
  adaptor: (record: R) => Adaptor,
  { filters = [], signal }: ListOptions = {},
): AsyncIterable<R> {
  const filter = filters.length === 0 ? undefined : parseFilters(filters);
  for await (const record of records) {
    signal?.throwIfAborted();
    if (filter === undefined || filter.matches(adaptor(record))) yield record;
  }
}
