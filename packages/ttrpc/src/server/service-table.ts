import type { DescService } from "@bufbuild/protobuf";
import type { MethodImplSpec, ServiceImpl } from "@connectrpc/connect";
import { createServiceImplSpec } from "@connectrpc/connect";
import { alreadyExists, unimplemented } from "@berth/errors";

/** One service and what answers it. */
export interface TtrpcService {
  readonly service: DescService;
  // The implementation of a service known only at run time; `ttrpcService` checks it where the type is known.
  readonly implementation: object;
}

/** This pairs a service with its implementation, type checked; methods left out answer unimplemented. */
export function ttrpcService<S extends DescService>(service: S, implementation: Partial<ServiceImpl<S>>): TtrpcService {
  return { service, implementation };
}

/** The services of a server, by name. */
export class ServiceTable {
  readonly #services = new Map<string, Map<string, MethodImplSpec>>();

  /** @throws already_exists - the service has an implementation */
  add({ service, implementation }: TtrpcService): void {
    if (this.#services.has(service.typeName)) throw alreadyExists(`service ${service.typeName} is registered`);
    const { methods } = createServiceImplSpec(service, implementation);
    this.#services.set(service.typeName, new Map(Object.values(methods).map((spec) => [spec.method.name, spec])));
  }

  /** @throws unimplemented - no such service, or no such method */
  get(service: string, method: string): MethodImplSpec {
    const methods = this.#services.get(service);
    if (methods === undefined) throw unimplemented(`service ${service}`);
    const spec = methods.get(method);
    if (spec === undefined) throw unimplemented(`method ${method}`);
    return spec;
  }
}
