import type { TarBudgets } from "./budgets.ts";
import type { TarHeader } from "./tar-header.ts";
import { createTarReader } from "./tar-reader.ts";

/** One entry of an archive that is being read. */
export interface TarEntry {
  readonly header: TarHeader;
  /** The content, holes filled with zeros. Readable once, and only until the next entry is asked for: then it is empty. */
  readonly content: AsyncIterable<Uint8Array>;
}

type Event =
  | { readonly kind: "entry"; readonly header: TarHeader }
  | { readonly kind: "data"; readonly bytes: Uint8Array; readonly offset: number }
  | { readonly kind: "end" };

const ZEROS = new Uint8Array(65_536);

/**
 * This reads an archive entry by entry, for those who want comfort rather than the speed of `createTarReader`. Content
 * that is not read is passed over. Leaving the loop closes `source`; one that ends normally is read to its end.
 *
 * @throws invalid_argument, data_loss, resource_exhausted - as `TarReader`, after the entries before the fault
 */
export async function* readTar(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  budgets?: Partial<TarBudgets>,
): AsyncGenerator<TarEntry, void, undefined> {
  const events = tarEvents(source, budgets);
  try {
    for (;;) {
      const { value: event } = await events.next();
      if (event === undefined) return;
      if (event.kind !== "entry") continue;
      yield { header: event.header, content: contentOf(event.header, events) };
    }
  } finally {
    await events.return();
  }
}

async function* contentOf(
  header: TarHeader,
  events: AsyncGenerator<Event, void, undefined>,
): AsyncGenerator<Uint8Array> {
  let position = 0;
  for (;;) {
    const { value: event } = await events.next();
    if (event === undefined || event.kind !== "data") break;
    yield* zeros(event.offset - position);
    yield event.bytes;
    position = event.offset + event.bytes.length;
  }
  yield* zeros(header.size - position);
}

function* zeros(count: number): Generator<Uint8Array> {
  for (let left = count; left > 0; left -= ZEROS.length) yield left < ZEROS.length ? ZEROS.subarray(0, left) : ZEROS;
}

async function* tarEvents(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  budgets: Partial<TarBudgets> | undefined,
): AsyncGenerator<Event, void, undefined> {
  let events: Event[] = [];
  const reader = createTarReader(
    {
      entry: (header) => events.push({ kind: "entry", header }),
      data: (bytes, offset) => events.push({ kind: "data", bytes, offset }),
      endEntry: () => events.push({ kind: "end" }),
    },
    budgets,
  );
  for await (const chunk of source) {
    const failure = attempt(() => reader.write(chunk));
    const ready = events;
    events = [];
    yield* ready;
    if (failure !== undefined) throw failure.error;
  }
  reader.end();
}

/** What came before a fault is handed out before the fault is. */
function attempt(action: () => void): { readonly error: unknown } | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    return { error };
  }
}
