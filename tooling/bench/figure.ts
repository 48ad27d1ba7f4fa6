/** The two that are compared. */
export type Side = "berth" | "containerd";

/** One of something for each side. */
export type Sides<T> = Readonly<Record<Side, T>>;

/** What a row has to reach. */
export type Target =
  /** A bound on berth's share of the other's value. */
  | { readonly ratio: number; readonly bound: "at most" | "at least" }
  /** A bound on berth's own median. */
  | { readonly value: number; readonly bound: "at most" | "at least" };

/** One line of the table. Samples of the same index were measured one right after the other. */
export interface Row {
  readonly label: string;
  readonly unit: "ms" | "s" | "calls/s" | "µs" | "MiB" | "MiB/s";
  readonly berth: readonly number[];
  readonly other: readonly number[];
  /** What `other` is, when it is not containerd. */
  readonly otherName?: string;
  readonly target?: Target;
}

/** What a figure gets to measure with. */
export interface FigureContext {
  readonly rounds: number;
  /** Aborted by an interrupt: a figure then stops before its next step, and cleans up. */
  readonly signal: AbortSignal;
  /** This shows what is being done, on standard error. */
  progress(text: string): void;
}

/** Something that can be measured by name. */
export interface Figure {
  readonly name: string;
  /** Rounds when the command line says nothing. */
  readonly rounds: number;
  measure(context: FigureContext): Promise<readonly Row[]>;
}

/**
 * This measures both sides in each round, A B then B A, so that what the machine does meanwhile meets both alike. The samples
 * come back in the order of the rounds.
 */
export async function alternate<T>(
  { rounds, signal, progress }: FigureContext,
  measure: (side: Side, round: number) => Promise<T>,
): Promise<Sides<readonly T[]>> {
  const samples: Record<Side, T[]> = { berth: [], containerd: [] };
  for (let round = 0; round < rounds; round += 1) {
    progress(`round ${round + 1} of ${rounds}`);
    const order: readonly Side[] = round % 2 === 0 ? ["berth", "containerd"] : ["containerd", "berth"];
    for (const side of order) {
      signal.throwIfAborted();
      samples[side].push(await measure(side, round));
    }
  }
  return samples;
}
