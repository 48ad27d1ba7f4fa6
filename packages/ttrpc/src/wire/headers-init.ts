/** What `new Headers` takes; Node's types do not name it. */
export type HeadersInit = NonNullable<ConstructorParameters<typeof Headers>[0]>;
