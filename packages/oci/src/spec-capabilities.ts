import { invalidArgument } from "@berth/errors";

import type { SpecCapabilities, SpecOption } from "./spec-model.ts";
import { changeProcess } from "./spec-model.ts";

/** The capabilities of Linux by their number. */
const NAMES =
  "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
    .split(" ")
    .map((name) => `CAP_${name}`);

/** Every capability that berth knows. */
export const ALL_CAPABILITIES: readonly string[] = NAMES;

/** This reads a mask as `/proc/<pid>/status` has it; bits without a name are passed over. @throws invalid_argument */
export function parseCapabilityMask(hex: string): string[] {
  if (!/^[0-9a-f]{1,16}$/i.test(hex)) throw invalidArgument(`invalid capability mask ${JSON.stringify(hex)}`);
  const mask = BigInt(`0x${hex}`);
  return NAMES.filter((_, bit) => (mask >> BigInt(bit)) & 1n);
}

/** This sets the capabilities of the process; inheritable ones are cut down to them. */
export function withCapabilities(capabilities: readonly string[]): SpecOption {
  return changeCapabilities(({ inheritable, ...rest }) => {
    const kept = (inheritable ?? []).filter((name) => capabilities.includes(name));
    const sets = { ...rest, bounding: capabilities, effective: capabilities, permitted: capabilities };
    return kept.length === 0 ? sets : { ...sets, inheritable: kept };
  });
}

/** This adds capabilities. */
export function withAddedCapabilities(names: readonly string[]): SpecOption {
  const add = (set: readonly string[] = []): string[] => [...set, ...names.filter((name) => !set.includes(name))];
  return changeCapabilities((sets) => ({
    ...sets,
    bounding: add(sets.bounding),
    effective: add(sets.effective),
    permitted: add(sets.permitted),
  }));
}

/** This takes capabilities away. */
export function withDroppedCapabilities(names: readonly string[]): SpecOption {
  const drop = (set: readonly string[] = []): string[] => set.filter((name) => !names.includes(name));
  return changeCapabilities((sets) => ({
    ...sets,
    bounding: drop(sets.bounding),
    effective: drop(sets.effective),
    permitted: drop(sets.permitted),
    ...(sets.inheritable === undefined ? {} : { inheritable: drop(sets.inheritable) }),
  }));
}

function changeCapabilities(change: (sets: SpecCapabilities) => SpecCapabilities): SpecOption {
  return (spec) => changeProcess(spec, (process) => ({ ...process, capabilities: change(process.capabilities ?? {}) }));
}
