import { readFile, writeFile } from "node:fs/promises";
import { connect as connectHttp2 } from "node:http2";
import { join } from "node:path";

import { VersionResponseSchema } from "@berth/api/containerd/services/version/v1/version";
import type { PeerDaemon, TemporaryDirectory } from "@berth/testing";
import { runProgram, startBerthd, temporaryDirectory } from "@berth/testing";
import { fromBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const PLUGIN = `[plugins."io.containerd.server.v1.grpc-tcp"]`;
const METHOD = "/containerd.services.version.v1.Version/Version";

/** The port that a daemon has on this machine, once it is there. */
async function portOf(daemon: PeerDaemon): Promise<number> {
  const find = async (): Promise<number> =>
    Number(/grpc-tcp address="?127\.0\.0\.1:(\d+)/.exec(await daemon.log())?.[1] ?? 0);
  await expect.poll(find, { timeout: 10_000 }).toBeGreaterThan(0);
  return await find();
}

/** A call of gRPC by hand: the answer to an empty message. @throws what the connection ends with, also when it ends without an answer */
function callVersion(url: string, options: { ca?: string; cert?: string; key?: string } = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const session = connectHttp2(url, options);
    session.on("error", reject);
    const stream = session.request({
      ":method": "POST",
      ":path": METHOD,
      "content-type": "application/grpc",
      te: "trailers",
    });
    const chunks: Buffer[] = [];
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("error", reject);
    stream.on("end", () => {
      session.destroy();
      const body = Buffer.concat(chunks);
      // With TLS 1.3 a client may be sent away after it has sent its request.
      if (body.length < 5) reject(new Error("no answer"));
      else resolve(fromBinary(VersionResponseSchema, body.subarray(5)).version);
    });
    stream.end(Buffer.alloc(5));
  });
}

/** This calls with curl: a client that shares nothing with Node. */
async function curl(
  url: string,
  args: readonly string[],
): Promise<{ readonly code: number | null; readonly stdout: string }> {
  const json = ["-sS", "--max-time", "20", "-H", "content-type: application/json", "-d", "{}"];
  return await runProgram("curl", [...json, ...args, `${url}${METHOD}`]);
}

/** This makes an authority, and certificates by it for the server and for a client; another authority has made `stranger`. */
async function makeCertificates(directory: string): Promise<void> {
  const openssl = async (...args: string[]): Promise<void> => {
    const { code, stderr } = await runProgram("openssl", args);
    expect(code, stderr).toBe(0);
  };
  const file = (name: string): string => join(directory, name);
  const ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  for (const [authority, names] of [
    ["ca", ["server", "client"]],
    ["other-ca", ["stranger"]],
  ] as const) {
    await openssl(
      "req",
      "-x509",
      ...ec,
      "-keyout",
      file(`${authority}.key`),
      "-out",
      file(`${authority}.pem`),
      "-subj",
      `/CN=${authority}`,
    );
    for (const name of names) {
      await openssl("req", ...ec, "-keyout", file(`${name}.key`), "-out", file(`${name}.csr`), "-subj", `/CN=${name}`);
      await writeFile(file("extensions"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n");
      await openssl(
        "x509",
        "-req",
        "-in",
        file(`${name}.csr`),
        "-CA",
        file(`${authority}.pem`),
        "-CAkey",
        file(`${authority}.key`),
        "-CAcreateserial",
        "-out",
        file(`${name}.pem`),
        "-extfile",
        file("extensions"),
      );
    }
  }
}

describe("gRPC over TCP", () => {
  let certificates: TemporaryDirectory;
  const path = (name: string): string => join(certificates.path, name);
  const pem = (name: string): Promise<string> => readFile(path(name), "utf8");
  beforeAll(async () => {
    certificates = await temporaryDirectory("tls");
    await makeCertificates(certificates.path);
  }, 60_000);
  afterAll(() => certificates?.[Symbol.asyncDispose]());
  const withKeys = (...keys: string[]): string => [PLUGIN, 'address = "127.0.0.1:0"', ...keys, ""].join("\n");

  it("is skipped without an address", { timeout: 60_000 }, async () => {
    await using daemon = await startBerthd();
    expect((await daemon.ctr(["plugins", "ls", "id==grpc-tcp"])).stdout).toMatch(/grpc-tcp +- +skip/);
  });

  it("serves HTTP/2 and HTTP/1.1 in the clear, and warns", { timeout: 60_000 }, async () => {
    await using daemon = await startBerthd({ config: withKeys() });
    const url = `http://127.0.0.1:${await portOf(daemon)}`;
    expect(await callVersion(url)).toMatch(/^2\.4\.0/);
    for (const version of ["--http1.1", "--http2-prior-knowledge"]) {
      expect((await curl(url, [version])).stdout).toContain('"version":"2.4.0');
    }
    expect(await daemon.log()).toContain("without TLS");
  });

  it("serves HTTP/2 and HTTP/1.1 encrypted", { timeout: 60_000 }, async () => {
    const config = withKeys(`tls_cert = "${path("server.pem")}"`, `tls_key = "${path("server.key")}"`);
    await using daemon = await startBerthd({ config });
    const url = `https://127.0.0.1:${await portOf(daemon)}`;
    const ca = await pem("ca.pem");
    expect(await callVersion(url, { ca })).toMatch(/^2\.4\.0/);
    for (const version of ["--http1.1", "--http2"]) {
      const { stdout } = await curl(url, [version, "--cacert", path("ca.pem"), "-w", " over %{http_version}"]);
      expect(stdout).toContain('"version":"2.4.0');
      expect(stdout).toContain(version === "--http2" ? "over 2" : "over 1.1");
    }
    await expect(callVersion(url, { ca: await pem("other-ca.pem") })).rejects.toThrow();
    // In the clear, nothing is answered, and nobody else is harmed.
    expect((await curl(url.replace("https", "http"), [])).stdout).not.toContain("version");
    expect(await callVersion(url, { ca })).toMatch(/^2\.4\.0/);
    // Nobody is asked who they are.
    expect(await daemon.log()).toContain("is root on this machine");
  });

  it("lets in clients of its authority alone, where one is named", { timeout: 60_000 }, async () => {
    const identity = [`tls_cert = "${path("server.pem")}"`, `tls_key = "${path("server.key")}"`];
    await using daemon = await startBerthd({ config: withKeys(...identity, `tls_ca = "${path("ca.pem")}"`) });
    const url = `https://127.0.0.1:${await portOf(daemon)}`;
    const ca = await pem("ca.pem");
    expect(await callVersion(url, { ca, cert: await pem("client.pem"), key: await pem("client.key") })).toMatch(
      /^2\.4\.0/,
    );
    await expect(callVersion(url, { ca })).rejects.toThrow();
    await expect(
      callVersion(url, { ca, cert: await pem("stranger.pem"), key: await pem("stranger.key") }),
    ).rejects.toThrow();
    const { code, stdout } = await curl(url, ["--cacert", path("ca.pem")]);
    expect([code === 0, stdout]).toEqual([false, ""]);
    expect(await daemon.log()).not.toContain("is root on this machine");
  });

  it.each([
    ["a certificate without a key", 'tls_cert = "/etc/hostname"'],
    ["an authority without a certificate", 'tls_ca = "/etc/hostname"'],
    ["files that are missing", 'tls_cert = "/nonexistent/cert"\ntls_key = "/nonexistent/key"'],
    ["files that are no certificates", 'tls_cert = "/etc/hostname"\ntls_key = "/etc/hostname"'],
    ["no port", 'address = "127.0.0.1"'],
  ])("is not served with %s; the socket is", { timeout: 60_000 }, async (_, keys) => {
    const address = keys.startsWith("address") ? "" : 'address = "127.0.0.1:0"\n';
    await using daemon = await startBerthd({ config: `${PLUGIN}\n${address}${keys}\n` });
    expect((await daemon.ctr(["plugins", "ls", "id==grpc-tcp"])).stdout).toMatch(/grpc-tcp +- +error/);
  });
});
