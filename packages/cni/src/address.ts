import { isIP } from "node:net";

/** This tells whether a text is an address with the length of its network, such as `10.1.0.2/16`. */
export function isCidr(text: string): boolean {
  const [, address = "", length = ""] = /^([^/%]+)\/(\d{1,3})$/.exec(text) ?? [];
  const family = isIP(address);
  return family !== 0 && Number(length) <= (family === 4 ? 32 : 128);
}

/** This returns the address of `10.1.0.2/16`. */
export function addressOf(cidr: string): string {
  return cidr.split("/")[0] ?? cidr;
}

/** This tells the family of an address, or of one with the length of its network. */
export function isIpv4(cidr: string): boolean {
  return isIP(addressOf(cidr)) === 4;
}
