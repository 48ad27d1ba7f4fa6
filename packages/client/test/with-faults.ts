import { Client } from "../src/index.ts";

/** What happens around the first call of a method, or of any of a service. */
interface Around {
  readonly before?: () => Promise<void>;
  readonly after?: () => Promise<void>;
}

/** The same client, but for what happens around its calls: names are `service/method`, or the service's alone. */
export function withFaults({ transport, namespace }: Client, faults: Readonly<Record<string, Around>>): Client {
  const left = new Map(Object.entries(faults));
  const takeFault = (service: string, method: string): Around => {
    const name = [`${service}/${method}`, service].find((known) => left.has(known)) ?? "";
    const fault = left.get(name) ?? {};
    left.delete(name);
    return fault;
  };
  return new Client(
    {
      unary: async (method, ...call) => {
        const fault = takeFault(method.parent.name, method.name);
        await fault.before?.();
        const answer = await transport.unary(method, ...call);
        await fault.after?.();
        return answer;
      },
      stream: async (method, ...call) => {
        await takeFault(method.parent.name, method.name).before?.();
        return await transport.stream(method, ...call);
      },
    },
    namespace,
  );
}
