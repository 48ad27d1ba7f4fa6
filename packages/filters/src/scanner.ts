import { invalidArgument } from "@berth/errors";

const OPERATORS = ["==", "!=", "~="] as const;

/** The comparisons that a condition can make. */
export type Operator = (typeof OPERATORS)[number];

/** Reads the tokens of one filter from left to right. */
export class Scanner {
  readonly #text: string;
  #position = 0;

  constructor(text: string) {
    this.#text = text;
  }

  get atEnd(): boolean {
    return this.#position >= this.#text.length;
  }

  /** This takes `token` if it comes next. */
  take(token: string): boolean {
    if (!this.#text.startsWith(token, this.#position)) return false;
    this.#position += token.length;
    return true;
  }

  /** This takes an operator if one comes next. */
  takeOperator(): Operator | undefined {
    return OPERATORS.find((operator) => this.take(operator));
  }

  /** This reads one part of a field path: a word of `[A-Za-z0-9_]`, or a quoted text. */
  readField(): string {
    if (this.#peek() === '"') return this.#readQuoted();
    return this.#readWord(/[A-Za-z0-9_]+/y, "a field name");
  }

  /** This reads a value: bare up to the next comma, or quoted; after `~=` also between slashes or bars. */
  readValue(operator: Operator): string {
    const next = this.#peek();
    if (next === '"') return this.#readQuoted();
    if (operator === "~=" && (next === "/" || next === "|")) return this.#readDelimited(next);
    return this.#readWord(/[^,\s"]+/y, "a value");
  }

  /** This makes the error for what comes next. */
  unexpected(expected: string): Error {
    const found = this.atEnd ? "the end" : JSON.stringify(this.#text.slice(this.#position, this.#position + 16));
    return invalidArgument(
      `filter ${JSON.stringify(this.#text)}: expected ${expected} at position ${this.#position}, found ${found}`,
    );
  }

  #peek(): string | undefined {
    return this.#text[this.#position];
  }

  #readWord(pattern: RegExp, expected: string): string {
    pattern.lastIndex = this.#position;
    const word = pattern.exec(this.#text)?.[0];
    if (word === undefined) throw this.unexpected(expected);
    this.#position += word.length;
    return word;
  }

  #readQuoted(): string {
    const pattern = /"(?:[^"\\\n]|\\.)*"/y;
    pattern.lastIndex = this.#position;
    const quoted = pattern.exec(this.#text)?.[0];
    if (quoted === undefined) throw this.unexpected("a closed quotation");
    const value = unquote(quoted.slice(1, -1));
    if (value === undefined) throw this.unexpected("a quotation with known escapes");
    this.#position += quoted.length;
    return value;
  }

  #readDelimited(delimiter: string): string {
    let value = "";
    for (let index = this.#position + 1; index < this.#text.length; index += 1) {
      const character = this.#text[index];
      if (character === "\\" && this.#text[index + 1] === delimiter) {
        value += delimiter;
        index += 1;
      } else if (character === delimiter) {
        this.#position = index + 1;
        return value;
      } else {
        value += character;
      }
    }
    throw this.unexpected(`a closing ${delimiter}`);
  }
}

const SIMPLE_ESCAPES: ReadonlyMap<string, string> = new Map([
  ["a", "\x07"],
  ["b", "\b"],
  ["f", "\f"],
  ["n", "\n"],
  ["r", "\r"],
  ["t", "\t"],
  ["v", "\v"],
  ["\\", "\\"],
  ['"', '"'],
  ["'", "'"],
]);

/** This resolves the escapes of a Go string literal; `undefined` when one is unknown. */
function unquote(text: string): string | undefined {
  let known = true;
  const value = text.replace(
    /\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)/gs,
    (_, escape: string) => {
      const simple = SIMPLE_ESCAPES.get(escape);
      if (simple !== undefined) return simple;
      const point = /^[xuU]./.test(escape) ? Number.parseInt(escape.slice(1), 16) : Number.parseInt(escape, 8);
      if (escape.length > 1 && point <= 0x10ffff) return String.fromCodePoint(point);
      known = false;
      return "";
    },
  );
  return known ? value : undefined;
}
