import { once } from "node:events";
import { connect } from "node:http2";
import { connect as connectSocket } from "node:net";

/** Path of the call that costs a daemon least. */
export const VERSION_PATH = "/containerd.services.version.v1.Version/Version";

/** This asks a daemon for its version and returns whether it has answered. */
export async function answersVersion(address: string): Promise<boolean> {
  const session = connect("http://localhost", { createConnection: () => connectSocket(address) });
  session.on("error", () => {});
  try {
    const headers = { ":method": "POST", ":path": VERSION_PATH, "content-type": "application/grpc", te: "trailers" };
    const stream = session.request(headers);
    let status: unknown;
    stream.on("trailers", (trailers) => (status = trailers["grpc-status"]));
    stream.end(new Uint8Array(5));
    stream.resume();
    await once(stream, "close");
    return status === "0";
  } catch {
    return false;
  } finally {
    session.destroy();
  }
}
