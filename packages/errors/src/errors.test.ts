import { Code, ConnectError } from "@connectrpc/connect";
import { expect, it } from "vitest";

import {
  codeName,
  codeOf,
  ignoreNotFound,
  notFound,
  parseCodeName,
  toConnectError,
  unavailable,
  withClass,
  wrapError,
} from "./index.ts";

const system = (code: string): Error => Object.assign(new Error(`${code}: of a system call`), { code });
const timedOut = await new Promise<unknown>((resolve) => {
  const signal = AbortSignal.timeout(0);
  signal.addEventListener("abort", () => resolve(signal.reason));
});

const CLASSES: readonly (readonly [what: string, thrown: unknown, code: Code])[] = [
  ["an error with a code", unavailable("gone"), Code.Unavailable],
  ["a missing file", system("ENOENT"), Code.NotFound],
  ["a full disk", system("ENOSPC"), Code.ResourceExhausted],
  ["a refused connection", system("ECONNREFUSED"), Code.Unavailable],
  ["an errno without a class", system("EXDEV"), Code.Unknown],
  ["a code of Node that is no errno", system("ERR_INVALID_ARG_TYPE"), Code.Unknown],
  ["the reason of an aborted signal", AbortSignal.abort().reason, Code.Canceled],
  ["the reason of a signal that timed out", timedOut, Code.DeadlineExceeded],
  ["any other error", new TypeError("x is not a function"), Code.Unknown],
  ["what is no error", "text", Code.Unknown],
];

it.each(CLASSES)("codeOf, toConnectError and wrapError agree about %s", (_what, thrown, code) => {
  expect(codeOf(thrown)).toBe(code);
  expect(toConnectError(thrown).code).toBe(code);
  expect(wrapError(thrown, "do").code).toBe(code);
});

it("toConnectError keeps a ConnectError, and what it made one of as its cause", () => {
  const [own, other] = [notFound("it"), system("EIO")];
  expect(toConnectError(own)).toBe(own);
  expect(toConnectError(other).cause).toBe(other);
});

it("wrapError keeps metadata and details", () => {
  const error = new ConnectError("no", Code.Aborted, { "x-why": "because" });
  error.details = [{ type: "some.Detail", value: Uint8Array.of(1) }];
  const wrapped = wrapError(error, "do");
  expect([wrapped.rawMessage, wrapped.metadata.get("x-why"), wrapped.details]).toEqual([
    "do: no",
    "because",
    error.details,
  ]);
});

it("ignoreNotFound throws what is not not_found", async () => {
  await expect(Promise.reject(system("ENOENT")).catch(ignoreNotFound)).resolves.toBeUndefined();
  await expect(Promise.reject(notFound("it")).catch(ignoreNotFound)).resolves.toBeUndefined();
  await expect(Promise.reject(system("EIO")).catch(ignoreNotFound)).rejects.toMatchObject({ code: "EIO" });
});

it("parseCodeName is the inverse of codeName for all sixteen", () => {
  const codes = Object.values(Code).filter((code) => typeof code === "number");
  expect(codes.map((code) => parseCodeName(codeName(code)))).toEqual(codes);
  expect(new Set(codes).size).toBe(16);
});

it.each([
  ['image "x"', Code.NotFound, 'image "x": not found'],
  ["task x not found", Code.NotFound, "task x not found"],
  ["lease", Code.AlreadyExists, "lease: already exists"],
  ["no namespace", Code.FailedPrecondition, "no namespace: failed precondition"],
  ["a name", Code.InvalidArgument, "a name"],
])("withClass(%j, %i) is %j", (text, code, expected) => {
  expect(withClass(text, code)).toBe(expected);
});
