/** Cuts bytes into lines of bounded length; a longer line comes in pieces. */
export class LineSplitter {
  readonly #maxBytes: number;
  readonly #onLine: (line: string) => void;
  #rest = new Uint8Array(0);

  constructor(maxBytes: number, onLine: (line: string) => void) {
    this.#maxBytes = maxBytes;
    this.#onLine = onLine;
  }

  push(chunk: Uint8Array): void {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    for (;;) {
      const end = bytes.indexOf(0x0a);
      if (end === -1 ? bytes.length < this.#maxBytes : end <= this.#maxBytes) {
        if (end === -1) break;
        this.#emit(bytes.subarray(0, end));
        bytes = bytes.subarray(end + 1);
      } else {
        this.#emit(bytes.subarray(0, this.#maxBytes));
        bytes = bytes.subarray(this.#maxBytes);
      }
    }
    // The chunk belongs to the socket; only what is kept is copied.
    this.#rest = new Uint8Array(bytes);
  }

  /** This gives out what came after the last line end. */
  end(): void {
    this.#emit(this.#rest);
    this.#rest = new Uint8Array(0);
  }

  #emit(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#onLine(new TextDecoder().decode(bytes));
  }
}
