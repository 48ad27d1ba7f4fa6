export { type ConsoleSocket, listenConsoleSocket, type ReceiveOptions } from "./sockets/console-socket.ts";
export { sendDatagram } from "./sockets/datagram.ts";
export { type ReceivedMessage, receiveDescriptors, sendDescriptors } from "./sockets/descriptor-message.ts";
export { type PeerCredentials, peerCredentials, socketFd } from "./sockets/peer-credentials.ts";
export { socketPair } from "./sockets/socket-pair.ts";
export { acceptUnix, connectUnix, listenUnix } from "./sockets/unix-socket.ts";
