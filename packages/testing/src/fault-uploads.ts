import { randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";

import type { Digest } from "@berth/oci";
import { digestAlgorithm, isDigest, parseDigest } from "@berth/oci";

import { digestBytes } from "./image-builder.ts";
import type { RegistryFault, RegistryRequestRecord } from "./registry-fault.ts";

/** What uploads are kept in. */
interface Contents {
  has(digest: string): boolean;
  add(bytes: Uint8Array, as: { readonly mediaType: string; readonly digest?: Digest; readonly tag?: string }): void;
}

const SESSION = "/blobs/uploads/";

/** The half of a registry that takes content in: whole, in pieces, or from another repository. What came before a connection broke is kept. */
export class FaultUploads {
  readonly #contents: Contents;
  readonly #sessions = new Map<string, Uint8Array[]>();

  constructor(contents: Contents) {
    this.#contents = contents;
  }

  /** This answers a request if it is about an upload, and says whether it was. */
  async answer(
    request: IncomingMessage,
    response: ServerResponse,
    record: RegistryRequestRecord,
    fault: RegistryFault | undefined,
  ): Promise<boolean> {
    const { method, path } = record;
    const isSession = path.includes(SESSION);
    if (!isSession && method !== "PUT") return false;
    if (method === "POST") {
      this.#open(record, response, fault);
      return true;
    }
    const parts = isSession ? this.#sessions.get(path) : [];
    if (parts === undefined) {
      response.writeHead(404).end('{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}');
      return true;
    }
    if (method !== "GET" && !(await receive(request, parts, fault))) return true;
    if (fault?.kind === "lose-answer" && method !== "PUT") request.socket.resetAndDestroy();
    else if (method === "PUT") this.#finish(record, response, parts, fault, request);
    else answerState(response, path, parts, method, fault);
    return true;
  }

  #open({ path, query }: RegistryRequestRecord, response: ServerResponse, fault: RegistryFault | undefined): void {
    const mounted = query.get("mount");
    if (mounted !== null && this.#contents.has(mounted)) {
      response.writeHead(201, { location: `/v2/x/blobs/${mounted}` }).end();
      return;
    }
    const location = `${path}${randomUUID()}`;
    this.#sessions.set(location, []);
    response.writeHead(202, { location, ...(fault?.kind === "headers" && fault.headers) }).end();
  }

  #finish(
    { path, query, headers }: RegistryRequestRecord,
    response: ServerResponse,
    parts: readonly Uint8Array[],
    fault: RegistryFault | undefined,
    request: IncomingMessage,
  ): void {
    const bytes = Buffer.concat(parts);
    const name = path.split("/").at(-1) ?? "";
    const wanted = query.get("digest");
    const known = [wanted, name].find((text) => text !== null && isDigest(text));
    const digest = digestBytes(bytes, known ? digestAlgorithm(parseDigest(known)) : "sha256");
    if (wanted !== null && wanted !== digest) {
      response.writeHead(400).end('{"errors":[{"code":"DIGEST_INVALID","message":"other bytes"}]}');
      return;
    }
    this.#contents.add(bytes, {
      mediaType: headers["content-type"] ?? "",
      digest,
      ...(wanted === null && name !== digest && { tag: name }),
    });
    // A registry that has stored it, and whose answer is lost, knows the session no more.
    this.#sessions.delete(path);
    if (fault?.kind === "lose-answer") request.socket.resetAndDestroy();
    else
      response
        .writeHead(201, { "docker-content-digest": digest, ...(fault?.kind === "headers" && fault.headers) })
        .end();
  }
}

function answerState(
  response: ServerResponse,
  location: string,
  parts: readonly Uint8Array[],
  method: string,
  fault: RegistryFault | undefined,
): void {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  response
    .writeHead(method === "GET" ? 204 : 202, {
      location,
      range: `0-${Math.max(0, length - 1)}`,
      ...(fault?.kind === "headers" && fault.headers),
    })
    .end();
}

/** This takes a body in, as far as the fault lets it, and returns whether it came whole. */
async function receive(
  request: IncomingMessage,
  parts: Uint8Array[],
  fault: RegistryFault | undefined,
): Promise<boolean> {
  const limit = fault?.kind === "reset" || fault?.kind === "stall" ? fault.after : Infinity;
  let taken = 0;
  try {
    for (;;) {
      if (taken >= limit) {
        if (fault?.kind === "reset") request.socket.resetAndDestroy();
        else request.pause();
        return false;
      }
      const chunk = await nextChunk(request);
      if (chunk === undefined) return true;
      const part = chunk.subarray(0, limit - taken);
      taken += part.length;
      parts.push(part);
    }
  } catch {
    // The client has gone: what it sent stays.
    return false;
  }
}

function nextChunk(request: IncomingMessage): Promise<Uint8Array | undefined> {
  return new Promise((resolve, reject) => {
    const take = (): void => {
      const chunk: Uint8Array | null = request.read();
      if (chunk !== null) settle(() => resolve(chunk));
      else if (request.readableEnded) settle(() => resolve(undefined));
    };
    const end = (): void => settle(() => resolve(undefined));
    const cut = (): void => settle(() => reject(request.errored ?? new Error("the client has gone")));
    const settle = (then: () => void): void => {
      request.off("readable", take).off("end", end).off("close", cut).off("error", cut);
      then();
    };
    request.on("readable", take).on("end", end).on("close", cut).on("error", cut);
    take();
  });
}
