import { codeName, codeOf, type ErrorClass } from "@berth/errors";

function thrownBy(fn: () => unknown): { readonly error: unknown } | undefined {
  try {
    fn();
    return undefined;
  } catch (error) {
    return { error };
  }
}

/** This returns the errno name of what a function throws, `undefined` when it throws nothing. */
export function errnoName(fn: () => unknown): unknown {
  const error = thrownBy(fn)?.error;
  return error instanceof Error && "code" in error ? error.code : error;
}

/** This returns the class of what a function throws, `undefined` when it throws nothing. */
export function errorClass(fn: () => unknown): ErrorClass | undefined {
  const thrown = thrownBy(fn);
  return thrown && codeName(codeOf(thrown.error));
}

/** This returns the errno name of what a promise is rejected with, `undefined` when it is not. */
export async function rejectedErrno(promise: Promise<unknown>): Promise<unknown> {
  return await promise.then(
    () => undefined,
    (error: unknown) => errnoName(() => throwIt(error)),
  );
}

/** This returns the class of what a promise is rejected with, `undefined` when it is not. */
export async function rejectedClass(promise: Promise<unknown>): Promise<ErrorClass | undefined> {
  return await promise.then(
    () => undefined,
    (error: unknown) => errorClass(() => throwIt(error)),
  );
}

function throwIt(error: unknown): never {
  throw error;
}
