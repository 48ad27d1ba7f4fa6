import { invalidArgument, messageOf } from "@berth/errors";
import { normalizeDockerReference } from "@berth/images";
import { parseReference } from "@berth/oci";

import { requireArgument } from "./arguments.ts";

/**
 * This returns an argument that names an image in a registry. Short names are not completed, since other programs would take them for other images: the
 * error says what was probably meant.
 *
 * @throws invalid_argument - it is missing, malformed or short, or has neither tag nor digest where one is `needed`
 */
export function requireReference(
  args: readonly string[],
  index: number,
  complaint: string,
  { object }: { readonly object: "needed" | "optional" } = { object: "needed" },
): string {
  const name = requireArgument(args, index, complaint);
  try {
    if (parseReference(name).object === "" && object === "needed")
      throw invalidArgument(`reference ${JSON.stringify(name)} has neither a tag nor a digest`);
  } catch (error) {
    throw invalidArgument(`${messageOf(error)}${suggestionFor(name)}`, { cause: error });
  }
  return name;
}

function suggestionFor(name: string): string {
  try {
    const full = normalizeDockerReference(name.replace(/^[a-z]+:\/\//, ""));
    return full === name ? "" : `: is ${full} meant?`;
  } catch {
    return "";
  }
}
