const REPAINT_MS = 100;
const BAR_WIDTH = 28;

/**
 * Lines on a terminal that tell how far something is, repainted in place. Where standard error is no terminal nothing is
 * written. Disposing wipes them.
 */
export class ProgressLines implements Disposable {
  readonly #stream: NodeJS.WriteStream;
  #painted = 0;
  #height = 0;

  constructor(stream: NodeJS.WriteStream = process.stderr) {
    this.#stream = stream;
  }

  /** This shows what `text` gives, not more often than ten times a second. What does not fit on the screen is cut off. */
  update(text: () => string): void {
    const now = performance.now();
    if (!this.#stream.isTTY || now - this.#painted < REPAINT_MS) return;
    this.#painted = now;
    // A terminal that does not say how large it is.
    const columns = this.#stream.columns || 80;
    const rows = this.#stream.rows || 24;
    const lines = text()
      .split("\n")
      .slice(-Math.max(1, rows - 1))
      .map((line) => line.slice(0, Math.max(0, columns - 1)));
    this.#stream.write(`${this.#wipe()}${lines.join("\n")}`);
    this.#height = lines.length;
  }

  /** This wipes the lines, so that something else can be printed. */
  clear(): void {
    if (this.#height > 0) this.#stream.write(this.#wipe());
    this.#height = 0;
  }

  /** To the first of the lines, and everything from there on gone. */
  #wipe(): string {
    return `\r${this.#height > 1 ? `\u001b[${this.#height - 1}A` : ""}\u001b[J`;
  }

  [Symbol.dispose](): void {
    this.clear();
  }
}

/** This draws how much is done: `|++++----|`. */
export function formatBar(done: number, total: number): string {
  const filled = total > 0 ? Math.min(BAR_WIDTH, Math.floor((done / total) * BAR_WIDTH)) : 0;
  return `|${"+".repeat(filled)}${"-".repeat(BAR_WIDTH - filled)}|`;
}
