import { invalidArgument } from "@berth/errors";

const UNITS = "kmgtp";

/**
 * This reads a number of bytes as people write it in a configuration: `512`, `64M`, `1.5 GiB`, `2gb`; units count by 1024.
 *
 * @throws invalid_argument
 * @see docker/go-units, RAMInBytes
 */
export function parseHumanSize(text: string): number {
  const match = /^(\d+(?:\.\d*)?|\.\d+) ?(?:([kmgtp])(?:b|ib)?|b)?$/i.exec(text);
  const size = Number(match?.[1] ?? Number.NaN) * 1024 ** (UNITS.indexOf(match?.[2]?.toLowerCase() ?? " ") + 1);
  if (!Number.isSafeInteger(Math.trunc(size))) throw invalidArgument(`invalid size ${JSON.stringify(text)}`);
  return Math.trunc(size);
}
