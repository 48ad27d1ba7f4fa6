import { bind, check } from "../libc.ts";

const native = {
  socketpair: bind<[number, number, number, Int32Array], number>("socketpair", "int", ["int", "int", "int", "void *"]),
};

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;

/** This makes two connected stream sockets, blocking and closed on exec, which the caller closes. @throws EMFILE */
export function socketPair(): readonly [number, number] {
  const ends = new Int32Array(2);
  check(native.socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socketpair");
  const [first = -1, second = -1] = ends;
  return [first, second];
}
