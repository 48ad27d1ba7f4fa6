/** Time limits of the daemon's side of shims, in milliseconds. */
export interface RuntimeTimeouts {
  /** Taking over one shim at the start of the daemon. */
  readonly loadMs: number;
  /** Removing what is left of a dead shim, or of a create that failed. */
  readonly cleanupMs: number;
  /** Telling a shim that its task is gone. */
  readonly shutdownMs: number;
  /** Asking for the state of a process. */
  readonly stateMs: number;
  /** Asking for the metrics of tasks. */
  readonly statsMs: number;
}

/** The longest that a timer can run: as good as no limit. */
const UNLIMITED_MS = 2 ** 31 - 1;

/** containerd's limits. */
export const DEFAULT_RUNTIME_TIMEOUTS: RuntimeTimeouts = {
  loadMs: 5000,
  cleanupMs: 5000,
  shutdownMs: 3000,
  stateMs: 2000,
  statsMs: 2000,
};

/** This takes the limits out of the `timeouts` of the configuration; zero means none there. */
export function runtimeTimeouts(configured: ReadonlyMap<string, number>): RuntimeTimeouts {
  const limit = (name: string, initialMs: number): number => {
    const ms = configured.get(`io.containerd.timeout.${name}`) ?? initialMs;
    return ms > 0 ? Math.min(Math.max(1, Math.round(ms)), UNLIMITED_MS) : UNLIMITED_MS;
  };
  const { loadMs, cleanupMs, shutdownMs, stateMs, statsMs } = DEFAULT_RUNTIME_TIMEOUTS;
  return {
    loadMs: limit("shim.load", loadMs),
    cleanupMs: limit("shim.cleanup", cleanupMs),
    shutdownMs: limit("shim.shutdown", shutdownMs),
    stateMs: limit("task.state", stateMs),
    statsMs: limit("metrics.shimstats", statsMs),
  };
}
