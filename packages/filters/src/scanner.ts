import { invalidArgument } from "@berth/errors";

const OPERATORS = ["==", "!=", "~="] as const;

/** The comparisons that a condition can make. */
export type Operator = (typeof OPERATORS)[number];

/** Reads the tokens of one filter from left to right. Spaces may come before a field, an operator and a value, and nowhere else. */
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

  /** This takes an operator if one comes next; signs that are none are refused, also behind one (`a!==b`). */
  takeOperator(): Operator | undefined {
    const [signs = ""] = this.#match(/\s*[=!~]+/y) ?? [];
    if (signs === "") return undefined;
    const operator = OPERATORS.find((known) => known === signs.trimStart());
    if (operator === undefined) throw this.unexpected("an operator");
    this.#position += signs.length;
    return operator;
  }

  /** This reads one part of a field path: a word of `[A-Za-z0-9_]`, or a quoted text. */
  readField(): string {
    this.#skipSpaces();
    if (this.#peek() === '"') return this.#readQuoted();
    return this.#readWord(/[A-Za-z0-9_]+/y, "a field name");
  }

  /** This reads a value: bare up to the next comma, or quoted; after `~=` also between slashes or bars. */
  readValue(operator: Operator): string {
    this.#skipSpaces();
    const next = this.#peek();
    if (next === '"') return this.#readQuoted();
    if (operator === "~=" && (next === "/" || next === "|")) return this.#readDelimited(next);
    return this.#readWord(/[^,\s"][^,\s]*/y, "a value");
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

  #match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#position;
    return pattern.exec(this.#text);
  }

  #skipSpaces(): void {
    this.#position += this.#match(/\s*/y)?.[0].length ?? 0;
  }

  #readWord(pattern: RegExp, expected: string): string {
    const word = this.#match(pattern)?.[0];
    if (word === undefined) throw this.unexpected(expected);
    this.#position += word.length;
    return word;
  }

  #readQuoted(): string {
    const quoted = this.#match(/"(?:[^"\\\n]|\\.)*"/y)?.[0];
    if (quoted === undefined) throw this.unexpected("a closed quotation");
    let isKnown = true;
    const value = unquote(quoted.slice(1, -1), () => {
      isKnown = false;
      return "";
    });
    if (!isKnown) throw this.unexpected("a quotation with known escapes");
    this.#position += quoted.length;
    return value;
  }

  /** Escapes that a quotation knows mean the same here; others are the expression's. */
  #readDelimited(delimiter: "/" | "|"): string {
    const pattern = delimiter === "/" ? /\/(?:[^/\\\n]|\\.)*\//y : /\|(?:[^|\\\n]|\\.)*\|/y;
    const quoted = this.#match(pattern)?.[0];
    if (quoted === undefined) throw this.unexpected(`a closing ${delimiter}`);
    this.#position += quoted.length;
    return unquote(quoted.slice(1, -1), (escape) => (escape === delimiter ? delimiter : `\\${escape}`));
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

/** This resolves the escapes of a Go string literal; `other` says what becomes of one that is unknown, given without its backslash. */
function unquote(text: string, other: (escape: string) => string): string {
  return text.replace(/\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)/gs, (_, escape: string) => {
    const simple = SIMPLE_ESCAPES.get(escape);
    if (simple !== undefined) return simple;
    const point = /^[xuU]./.test(escape) ? Number.parseInt(escape.slice(1), 16) : Number.parseInt(escape, 8);
    return escape.length > 1 && point <= 0x10ffff ? String.fromCodePoint(point) : other(escape);
  });
}
