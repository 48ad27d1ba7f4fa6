export { messageName, packMessage, unpackMessage } from "@berth/core/messages";
