import { unknown } from "@berth/errors";

import { addressOf } from "./address.ts";
import type { CniDns, CniResult, CniRoute } from "./result.ts";

/** An interface that a container, or the host for it, has. */
export interface InterfaceState {
  readonly mac?: string;
  /** Path of its namespace; absent for one of the host. */
  readonly sandbox?: string;
  readonly socketPath?: string;
  readonly pciId?: string;
  readonly addresses: readonly { readonly ip: string; readonly gateway?: string }[];
}

/** What all networks of a container came to. */
export interface NetworkState {
  /** By the name of the interface; that of the first network is always there. */
  readonly interfaces: ReadonlyMap<string, InterfaceState>;
  readonly routes: readonly CniRoute[];
  /** One of each network. */
  readonly dns: readonly CniDns[];
  /** One of each network, as its plugins told it. */
  readonly results: readonly CniResult[];
}

/**
 * This sums up what the networks of a container came to. Addresses that name no interface are those of `first`.
 *
 * @throws unknown - an address is of an interface that there is not
 * @see containerd/go-cni result.go
 */
export function networkState(results: readonly CniResult[], first: string): NetworkState {
  const interfaces = new Map<string, InterfaceState & { addresses: InterfaceState["addresses"][number][] }>();
  interfaces.set(first, { addresses: [] });
  for (const result of results) {
    for (const { name, mac, sandbox, socketPath, pciID } of result.interfaces) {
      interfaces.set(name, {
        ...(mac !== undefined && { mac }),
        ...(sandbox !== undefined && { sandbox }),
        ...(socketPath !== undefined && { socketPath }),
        ...(pciID !== undefined && { pciId: pciID }),
        addresses: [],
      });
    }
    for (const { interface: index, address, gateway } of result.ips) {
      const name = index === undefined ? first : result.interfaces[index]?.name;
      const found = name === undefined ? undefined : interfaces.get(name);
      if (found === undefined) throw unknown(`CNI address ${address} is of an interface that there is not`);
      found.addresses.push({ ip: addressOf(address), ...(gateway !== undefined && { gateway }) });
    }
  }
  return {
    interfaces,
    routes: results.flatMap(({ routes }) => routes),
    dns: results.map(({ dns }) => dns),
    results,
  };
}
