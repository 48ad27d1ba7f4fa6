import { invalidArgument } from "@berth/errors";

/** This returns which of several flags was given, if one was. @throws invalid_argument - several were */
export function oneOf<K extends string>(choices: Readonly<Record<K, boolean>>): K | undefined {
  const given: K[] = [];
  for (const name in choices) if (choices[name]) given.push(name);
  if (given.length > 1) throw invalidArgument(`${given.join(" and ")} exclude each other`);
  return given[0];
}
