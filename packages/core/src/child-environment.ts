/** What a service manager tells this process alone. */
const SERVICE = /^(?:NOTIFY_SOCKET$|LISTEN_)/;
/** The settings of its Node. */
const NODE = /^NODE_/;

/** Options of {@link childEnvironment}. */
export interface ChildEnvironmentOptions {
  /** That of this process if not given. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** The child is this very program, and is to run as this one does. */
  readonly sameProgram?: boolean;
}

/** This returns an environment for programs that this process starts, without what is meant for this process alone. */
export function childEnvironment(options: ChildEnvironmentOptions = {}): Record<string, string> {
  const { env = process.env, sameProgram = false } = options;
  const child: Record<string, string> = Object.create(null);
  for (const [name, value] of Object.entries(env)) {
    const isPrivate = SERVICE.test(name) || (!sameProgram && NODE.test(name));
    if (value !== undefined && !isPrivate) child[name] = value;
  }
  return child;
}
