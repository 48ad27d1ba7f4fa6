import type { Socket } from "node:net";

const HTTP2_PREFACE_START = "PRI";

/** Where a connection goes once its first bytes are known. */
export interface ProtocolTargets {
  http1(socket: Socket): void;
  http2(socket: Socket): void;
}

/**
 * This reads the first bytes of a connection, at most three, puts them back and hands the socket to the server that speaks
 * its protocol. A peer that does not send them before the deadline is dropped.
 */
export function switchProtocol(socket: Socket, targets: ProtocolTargets, deadlineMs: number): void {
  const deadline = setTimeout(() => socket.destroy(), deadlineMs);
  const leave = (): void => {
    clearTimeout(deadline);
    socket.off("readable", onReadable);
    socket.off("close", leave);
  };
  const onReadable = (): void => {
    // Without an encoding set, a socket reads Buffers.
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return;
    socket.unshift(chunk);
    const start = chunk.toString("latin1", 0, HTTP2_PREFACE_START.length);
    if (start.length < HTTP2_PREFACE_START.length && HTTP2_PREFACE_START.startsWith(start)) return;
    leave();
    if (start === HTTP2_PREFACE_START) targets.http2(socket);
    else targets.http1(socket);
  };
  socket.on("readable", onReadable);
  socket.on("close", leave);
}
