import { constants, openSync } from "node:fs";

import { closeFd } from "./files/descriptors.ts";
import { bind, check } from "./libc.ts";

const native = {
  ioctl: bind<[number, number, Uint16Array | Int32Array], number>("ioctl", "int", ["int", "ulong", "void *"]),
  ioctlNumber: bind<[number, number, number], number>("ioctl", "int", ["int", "ulong", "long"]),
  tcgetattr: bind<[number, Uint8Array], number>("tcgetattr", "int", ["int", "void *"]),
  tcsetattr: bind<[number, number, Uint8Array], number>("tcsetattr", "int", ["int", "int", "void *"]),
  cfmakeraw: bind<[Uint8Array], void>("cfmakeraw", "void", ["void *"]),
};

const TIOCGWINSZ = 0x5413;
const TIOCSWINSZ = 0x5414;
const TIOCSPTLCK = 0x40045431;
const TIOCGPTPEER = 0x5441;
const TERMIOS_SIZE = 128; // struct termios is 60 bytes

/** The size of a terminal in characters. */
export interface WindowSize {
  readonly width: number;
  readonly height: number;
}

/** This sets the size of a terminal; the foreground processes get SIGWINCH. @throws ENOTTY - it is no terminal */
export function resizePty(descriptor: number, size: WindowSize): void {
  check(native.ioctl(descriptor, TIOCSWINSZ, new Uint16Array([size.height, size.width, 0, 0])), "ioctl");
}

/** This returns the size of a terminal. @throws ENOTTY - it is no terminal */
export function getWindowSize(descriptor: number): WindowSize {
  const answer = new Uint16Array(4);
  check(native.ioctl(descriptor, TIOCGWINSZ, answer), "ioctl");
  const [height = 0, width = 0] = answer;
  return { width, height };
}

/** Both ends of a new terminal. */
export interface Pty extends Disposable {
  readonly master: number;
  readonly slave: number;
}

/** This makes a terminal; disposing closes both ends. */
export function openPty(): Pty {
  const flags = constants.O_RDWR | constants.O_NOCTTY;
  const master = openSync("/dev/ptmx", flags);
  try {
    check(native.ioctl(master, TIOCSPTLCK, new Int32Array([0])), "ioctl");
    const slave = check(native.ioctlNumber(master, TIOCGPTPEER, flags | 0o2000000), "ioctl");
    let open = true;
    const dispose = (): void => {
      if (!open) return;
      open = false;
      closeFd(slave);
      closeFd(master);
    };
    return { master, slave, [Symbol.dispose]: dispose };
  } catch (error) {
    closeFd(master);
    throw error;
  }
}

/** This switches a terminal to raw mode and returns what restores it. @throws ENOTTY - it is no terminal */
export function makeRaw(descriptor: number): () => void {
  const before = new Uint8Array(TERMIOS_SIZE);
  check(native.tcgetattr(descriptor, before), "tcgetattr");
  const raw = before.slice();
  native.cfmakeraw(raw);
  check(native.tcsetattr(descriptor, 0, raw), "tcsetattr");
  return () => {
    check(native.tcsetattr(descriptor, 0, before), "tcsetattr");
  };
}
