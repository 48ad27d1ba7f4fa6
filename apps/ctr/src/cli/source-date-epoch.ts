import { invalidArgument } from "@berth/errors";

/**
 * This reads the time that stands in for now where outputs are to be reproducible, in milliseconds since 1970; nothing where it is not set.
 *
 * @throws invalid_argument - it is no time
 * @see https://reproducible-builds.org/specs/source-date-epoch/
 */
export function sourceDateEpoch(): { readonly sourceDateEpoch?: number } {
  const text = process.env["SOURCE_DATE_EPOCH"];
  if (text === undefined || text === "") return {};
  if (!/^\d{1,12}$/.test(text)) throw invalidArgument(`SOURCE_DATE_EPOCH ${JSON.stringify(text)} is not a time`);
  return { sourceDateEpoch: Number(text) * 1000 };
}
