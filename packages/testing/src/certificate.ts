import { join } from "node:path";

import { internal } from "@berth/errors";

import { runProgram } from "./run-program.ts";

/** Paths of a certificate and its key, in PEM. */
export interface CertificateFiles {
  readonly certificate: string;
  readonly key: string;
}

/** This makes `cert.pem`, of a `tester` whom nobody but itself vouches for, and `key.pem` in a directory, for this machine and more names. */
export async function makeCertificate(directory: string, ...names: readonly string[]): Promise<CertificateFiles> {
  const alternatives = ["IP:127.0.0.1", ...names.map((name) => `DNS:${name}`)];
  const [key, certificate] = [join(directory, "key.pem"), join(directory, "cert.pem")];
  const made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=tester".split(" ");
  const more = ["-addext", `subjectAltName=${alternatives.join(",")}`, "-keyout", key, "-out", certificate];
  const { code, stderr } = await runProgram("openssl", [...made, ...more]);
  if (code !== 0) throw internal(`openssl ended with ${code}: ${stderr}`);
  return { certificate, key };
}
