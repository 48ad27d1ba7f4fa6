export { receiveBytes, sendBytes } from "./byte-streams.ts";
export { LocalTransfer } from "./local-transfer.ts";
export type { LocalTransferOptions, UnpackChoice } from "./transfer-options.ts";
