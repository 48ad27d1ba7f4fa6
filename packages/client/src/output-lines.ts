/** A line that a process wrote, without its end. */
export interface OutputLine {
  readonly stream: "stdout" | "stderr";
  readonly text: string;
}

/** The longest line; what is longer comes in pieces. */
const MAX_LINE_CHARACTERS = 1 << 20;

/** This reads lines of UTF-8; the last one need not have an end. Bytes that are no UTF-8 become U+FFFD. */
export async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of chunks) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
    while (rest.length >= MAX_LINE_CHARACTERS) {
      yield rest.slice(0, MAX_LINE_CHARACTERS);
      rest = rest.slice(MAX_LINE_CHARACTERS);
    }
  }
  rest += decoder.decode();
  if (rest !== "") yield rest;
}

type Stream = OutputLine["stream"];
type Lines = AsyncGenerator<string, void, undefined>;

/** This yields the lines of both streams, whichever comes first. Left early it leaves both. */
export async function* mergeLines(
  sources: Readonly<Record<Stream, Lines>>,
): AsyncGenerator<OutputLine, void, undefined> {
  const next = async (stream: Stream) => ({ stream, result: await sources[stream].next() });
  const pending = new Map<Stream, ReturnType<typeof next>>([
    ["stdout", next("stdout")],
    ["stderr", next("stderr")],
  ]);
  try {
    while (pending.size > 0) {
      const { stream, result } = await Promise.race(pending.values());
      if (result.done === true) pending.delete(stream);
      else {
        pending.set(stream, next(stream));
        yield { stream, text: result.value };
      }
    }
  } finally {
    // Not awaited: one of them may wait for output that comes much later. What it then gets is of no interest, nor is its failure.
    for (const stream of pending.keys()) void sources[stream].return().catch(() => {});
    for (const waiting of pending.values()) waiting.catch(() => {});
  }
}
