import { invalidArgument } from "@berth/errors";

/** Functions that a text may call, each with as many texts as it takes. */
export type TemplateFunctions = Readonly<Record<string, (...args: readonly string[]) => string>>;

/** An action: `{{name "argument" …}}`; a dash beside a brace takes the white space before or after it away. */
const ACTION = /(\s*\{\{-\s|\{\{)\s*(.*?)\s*(\s-\}\}\s*|\}\})/gs;
const TOKEN = /\s*(?:(?<name>[A-Za-z_]\w*)|(?<quoted>"(?:[^"\\\n]|\\.)*")|`(?<raw>[^`]*)`)/y;

/**
 * This fills in what stands between `{{` and `}}`: calls of the functions given, with quoted texts for arguments. It is as much of Go's
 * templates as hooks have use for.
 *
 * @throws invalid_argument - something else stands there
 */
export function expandTemplate(text: string, functions: TemplateFunctions): string {
  let end = 0;
  const parts: string[] = [];
  for (const match of text.matchAll(ACTION)) {
    parts.push(text.slice(end, match.index), call(match[2] ?? "", functions));
    end = match.index + match[0].length;
  }
  const rest = text.slice(end);
  if (rest.includes("{{")) throw invalidArgument(`unclosed action in ${JSON.stringify(text)}`);
  return [...parts, rest].join("");
}

function call(action: string, functions: TemplateFunctions): string {
  const [name, ...args] = tokens(action);
  const called = name?.kind === "name" && Object.hasOwn(functions, name.text) ? functions[name.text] : undefined;
  if (called === undefined || args.some(({ kind }) => kind === "name") || args.length !== called.length) {
    throw invalidArgument(`cannot evaluate {{${action}}}`);
  }
  return called(...args.map(({ text }) => text));
}

interface Token {
  readonly kind: "name" | "text";
  readonly text: string;
}

function tokens(action: string): readonly Token[] {
  const found: Token[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < action.length) {
    const groups = TOKEN.exec(action)?.groups;
    if (groups === undefined) throw invalidArgument(`cannot parse {{${action}}}`);
    const { name, quoted, raw } = groups;
    if (name !== undefined) found.push({ kind: "name", text: name });
    else found.push({ kind: "text", text: quoted === undefined ? (raw ?? "") : unquote(quoted) });
  }
  return found;
}

function unquote(quoted: string): string {
  try {
    const text: unknown = JSON.parse(quoted);
    return String(text);
  } catch (error) {
    throw invalidArgument(`cannot parse the text ${quoted}`, { cause: error });
  }
}
