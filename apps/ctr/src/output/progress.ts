const REPAINT_MS = 100;

/**
 * One line on a terminal that tells how far something is, repainted in place. Where standard error is no terminal nothing is
 * written. Disposing wipes the line.
 */
export class ProgressLine implements Disposable {
  readonly #stream: NodeJS.WriteStream;
  #painted = 0;
  #shown = false;

  constructor(stream: NodeJS.WriteStream = process.stderr) {
    this.#stream = stream;
  }

  /** This shows what `text` gives, not more often than ten times a second. */
  update(text: () => string): void {
    const now = performance.now();
    if (!this.#stream.isTTY || now - this.#painted < REPAINT_MS) return;
    this.#painted = now;
    this.#shown = true;
    this.#stream.write(`\r\u001b[K${text().slice(0, Math.max(0, this.#stream.columns - 1))}`);
  }

  /** This wipes the line, so that something else can be printed. */
  clear(): void {
    if (this.#shown) this.#stream.write("\r\u001b[K");
    this.#shown = false;
  }

  [Symbol.dispose](): void {
    this.clear();
  }
}
