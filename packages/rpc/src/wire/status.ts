import { Code, ConnectError, decodeBinaryHeader, encodeBinaryHeader } from "@connectrpc/connect";
import { create, toBinary } from "@bufbuild/protobuf";
import { StatusSchema } from "@berth/api/google/rpc/status";
import { withClass } from "@berth/errors";

/** Header values as `node:http2` gives and takes them. */
export type WireHeaders = Record<string, string | string[] | undefined>;

/**
 * Bytes of a text on the wire. A runtime's log line may be a megabyte, and Node resets a call whose trailers are over 64 KiB, which
 * loses the code; a status with details has the text twice.
 */
const MAX_TEXT_BYTES = 8 * 1024;

const PROTOCOL_HEADERS = new Set([
  "content-type",
  "content-length",
  "content-encoding",
  "connection",
  "host",
  "te",
  "transfer-encoding",
  "keep-alive",
  "upgrade",
  "trailer",
  "date",
  "user-agent",
]);

/** This says whether a header is metadata of the application, not of HTTP or gRPC. */
export function isMetadataHeader(name: string): boolean {
  return !name.startsWith(":") && !name.startsWith("grpc-") && !PROTOCOL_HEADERS.has(name);
}

/** This writes an error as gRPC trailers: status, percent-encoded message, details, and the error's own metadata. */
export function encodeStatus(error: ConnectError): WireHeaders {
  const message = withClass(shorten(error.rawMessage), error.code);
  const trailers: WireHeaders = { "grpc-status": String(error.code), "grpc-message": percentEncode(message) };
  if (error.details.length > 0) trailers["grpc-status-details-bin"] = encodeDetails(error, message);
  if (!error.isWireError) addMetadata(trailers, error.metadata);
  return trailers;
}

/** This leaves out the middle of a text that is too long: what was done stands at its beginning, what went wrong at its end. */
function shorten(text: string): string {
  if (percentEncode(text).length <= MAX_TEXT_BYTES) return text;
  const half = MAX_TEXT_BYTES / 2;
  const head = fitting(text.slice(0, half), half);
  const tail = fitting(Array.from(text.slice(-half)).reverse(), half).reverse();
  return [...head, " … ", ...tail].join("");
}

/** This returns the first characters that together need no more than `maxBytes` on the wire. */
function fitting(characters: Iterable<string>, maxBytes: number): string[] {
  const fitted: string[] = [];
  let bytes = 0;
  for (const character of characters) {
    bytes += percentEncode(character).length;
    if (bytes > maxBytes) break;
    fitted.push(character);
  }
  return fitted;
}

/** This adds application metadata to headers or trailers about to be sent. */
export function addMetadata(target: WireHeaders, metadata: Headers): void {
  metadata.forEach((value, name) => {
    if (isMetadataHeader(name)) target[name] = value;
  });
}

function encodeDetails(error: ConnectError, message: string): string {
  const details = error.details.map((detail) =>
    "desc" in detail
      ? {
          typeUrl: `type.googleapis.com/${detail.desc.typeName}`,
          value: toBinary(detail.desc, create(detail.desc, detail.value)),
        }
      : { typeUrl: `type.googleapis.com/${detail.type}`, value: detail.value },
  );
  return encodeBinaryHeader(create(StatusSchema, { code: error.code, message, details }), StatusSchema);
}

/** This returns the error that trailers (or trailers sent as headers) announce, `undefined` when they say OK or nothing. */
export function findStatusError(headers: WireHeaders): ConnectError | undefined {
  const status = headers["grpc-status"];
  if (typeof status !== "string" || status === "0") return undefined;
  const code = Number(status);
  const error = new ConnectError(
    percentDecode(String(headers["grpc-message"] ?? "")),
    code in Code ? code : Code.Unknown,
    metadataOf(headers),
  );
  addDetails(error, headers["grpc-status-details-bin"]);
  error.isWireError = true;
  return error;
}

function addDetails(error: ConnectError, encoded: string | string[] | undefined): void {
  if (typeof encoded !== "string") return;
  try {
    error.details = decodeBinaryHeader(encoded, StatusSchema).details.map(({ typeUrl, value }) => ({
      type: typeUrl.slice(typeUrl.lastIndexOf("/") + 1),
      value,
    }));
  } catch {
    // Details are extra information: a peer that garbles them has still told code and message.
  }
}

/** This returns the headers of a peer as `Headers`, without HTTP/2's pseudo headers. */
export function metadataOf(headers: WireHeaders): Headers {
  const metadata = new Headers();
  for (const name of Object.keys(headers)) {
    const value = headers[name];
    if (value === undefined || name.startsWith(":")) continue;
    appendHeader(metadata, name, value);
  }
  return metadata;
}

function appendHeader(metadata: Headers, name: string, value: string | string[]): void {
  try {
    if (typeof value === "string") metadata.append(name, value);
    else for (const one of value) metadata.append(name, one);
  } catch {
    // HTTP/2 allows bytes that `Headers` refuses; such a header is no metadata of ours.
  }
}

/**
 * This encodes a status message as gRPC prescribes: UTF-8, with `%` and everything outside printable ASCII escaped. Spaces
 * at either end are escaped as well: HTTP/2 drops a header that has them.
 */
export function percentEncode(text: string): string {
  // Lone surrogates make encodeURIComponent throw; toWellFormed replaces them.
  return text.toWellFormed().replace(/[^\x20-\x24\x26-\x7e]+|^ +| +$/g, (part) => encodeURIComponent(part));
}

/** This decodes a status message; what is not valid percent-encoding stays as it is. */
export function percentDecode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
