import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";

/** This makes `cert.pem`, of a `tester` whom nobody vouches for, and `key.pem` in a directory, for this machine and more names. */
export async function makeCertificate(directory: string, ...names: string[]): Promise<void> {
  const alternatives = ["IP:127.0.0.1", ...names.map((name) => `DNS:${name}`)];
  const [key, certificate] = [join(directory, "key.pem"), join(directory, "cert.pem")];
  const made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=tester".split(" ");
  const more = ["-addext", `subjectAltName=${alternatives.join(",")}`, "-keyout", key, "-out", certificate];
  await promisify(execFile)("openssl", [...made, ...more]);
}
