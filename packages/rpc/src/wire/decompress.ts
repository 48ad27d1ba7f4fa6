import { internal, resourceExhausted, unimplemented } from "@berth/errors";

/**
 * This undoes the compression of one message.
 * @throws unimplemented - the encoding is neither identity nor gzip
 * @throws internal - the message is marked compressed and the call announced no encoding
 * @throws resource_exhausted - it unpacks to more than `maxBytes`
 * @throws internal - it is not gzip
 */
export async function decompress(
  data: Uint8Array,
  encoding: string | undefined,
  maxBytes: number,
): Promise<Uint8Array> {
  if (encoding === undefined || encoding === "identity") {
    throw internal("message is marked compressed, and grpc-encoding names no compression");
  }
  if (encoding !== "gzip")
    throw unimplemented(`grpc-encoding ${JSON.stringify(encoding)}; accepted are identity, gzip`);
  if (data.length === 0) return data;
  return await inflate(data, maxBytes);
}

async function inflate(data: Uint8Array, maxBytes: number): Promise<Uint8Array> {
  // Loaded when the first compressed message comes: nearly no client sends one, and a command would pay for it at its start.
  const { gunzip } = await import("node:zlib");
  return await new Promise((resolve, reject) => {
    gunzip(data, { maxOutputLength: Math.max(1, maxBytes) }, (error, output) => {
      if (error === null) resolve(new Uint8Array(output.buffer, output.byteOffset, output.length));
      else if ("code" in error && error.code === "ERR_BUFFER_TOO_LARGE") {
        reject(resourceExhausted(`message unpacks to more than the limit of ${maxBytes} bytes`, { cause: error }));
      } else reject(internal(`message is not gzip: ${error.message}`, { cause: error }));
    });
  });
}
