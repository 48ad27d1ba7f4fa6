/** One way to authenticate that a server offers. */
export interface Challenge {
  /** In lower case. */
  readonly scheme: string;
  /** By names in lower case. */
  readonly parameters: ReadonlyMap<string, string>;
}

const MAX_HEADER_LENGTH = 16 * 1024;
const MAX_CHALLENGES = 32;
/** Best first. */
const PREFERENCE = ["bearer", "basic"];
const TOKEN = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+/y;
const TOKEN68 = /[A-Za-z0-9\-._~+/]+=*(?=\s*(?:,|$))/y;
/** Names of parameters are short; looking for one costs no more than this. */
const MAX_NAME_LENGTH = 256;
/** Not the padding of a token. */
const PARAMETER = /^[ \t]*[!#$%&'*+\-.^_`|~0-9A-Za-z]+[ \t]*=(?!=*[ \t]*(?:,|$))/;
const SPACES = /[ \t]*/y;
const QUOTED = /"((?:[^"\\]|\\.)*)"/y;

/**
 * This reads `WWW-Authenticate` headers, best scheme first. What cannot be read ends the header it stands in; it never throws.
 *
 * @see RFC 9110, section 11.6.1
 */
export function parseChallenges(headers: readonly string[]): readonly Challenge[] {
  const found = headers.flatMap((header) => parseHeader(header.slice(0, MAX_HEADER_LENGTH)));
  const rank = ({ scheme }: Challenge): number =>
    PREFERENCE.includes(scheme) ? PREFERENCE.indexOf(scheme) : PREFERENCE.length;
  return found.slice(0, MAX_CHALLENGES).sort((one, other) => rank(one) - rank(other));
}

function parseHeader(text: string): Challenge[] {
  const challenges: Challenge[] = [];
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | undefined => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match !== null) at = pattern.lastIndex;
    return match ?? undefined;
  };
  let parameters: Map<string, string> | undefined;
  for (;;) {
    take(SPACES);
    while (text[at] === ",") {
      at += 1;
      take(SPACES);
    }
    const name = take(TOKEN)?.[0].toLowerCase();
    if (name === undefined) return challenges;
    take(SPACES);
    if (text[at] === "=" && parameters !== undefined) {
      at += 1;
      take(SPACES);
      const quoted = take(QUOTED);
      const value = quoted === undefined ? take(TOKEN)?.[0] : quoted[1]?.replaceAll(/\\(.)/g, "$1");
      if (value === undefined) return challenges;
      // The first counts: a parameter may stand only once.
      if (!parameters.has(name)) parameters.set(name, value);
    } else {
      parameters = new Map();
      challenges.push({ scheme: name, parameters });
      if (!PARAMETER.test(text.slice(at, at + MAX_NAME_LENGTH))) take(TOKEN68);
    }
  }
}
