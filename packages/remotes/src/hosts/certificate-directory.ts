import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

import { failedPrecondition } from "@berth/errors";

import type { TlsSettings } from "./registry-host.ts";

/**
 * This reads a directory of certificates in Docker's layout: `*.crt` are authorities, `*.cert` beside `*.key` are our own. It returns
 * `undefined` when there is none.
 *
 * @throws failed_precondition - a certificate without its key
 */
export async function readCertificateDirectory(
  directory: string,
): Promise<Omit<TlsSettings, "skipVerify"> | undefined> {
  const names = (await readdir(directory)).sort();
  const read = (name: string): Promise<string> => readFile(join(directory, name), "utf8");
  const authorities = await Promise.all(names.filter((name) => name.endsWith(".crt")).map(read));
  const clientCertificates = [];
  for (const name of names.filter((each) => each.endsWith(".cert"))) {
    const key = `${name.slice(0, -".cert".length)}.key`;
    if (!names.includes(key)) throw failedPrecondition(`${join(directory, name)} has no ${key} beside it`);
    clientCertificates.push({ certificate: await read(name), key: await read(key) });
  }
  if (authorities.length === 0 && clientCertificates.length === 0) return undefined;
  return { authorities, clientCertificates };
}
