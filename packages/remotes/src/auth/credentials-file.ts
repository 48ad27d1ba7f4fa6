import { readFile } from "node:fs/promises";

import { failedPrecondition, wrapError } from "@berth/errors";

import type { Credentials } from "../hosts/registry-host.ts";
import { parseUser } from "./credential-source.ts";

/**
 * This reads the file that `credentials_file` of a `hosts.toml` names: one line, `user:secret`, or a refresh token alone.
 *
 * @throws failed_precondition - it is empty
 * @throws not_found, permission_denied
 */
export async function readCredentialsFile(path: string): Promise<Credentials> {
  let text: string;
  try {
    text = (await readFile(path, "utf8")).trim();
  } catch (error) {
    throw wrapError(error, "read the credentials of a registry host");
  }
  if (text === "") throw failedPrecondition(`${path} is empty: it should hold one line, user:secret`);
  return text.includes(":") ? parseUser(text) : { username: "", secret: text };
}
