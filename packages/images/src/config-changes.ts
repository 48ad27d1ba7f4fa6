import { invalidArgument } from "@berth/errors";

import type { ImageDocument } from "./image-document.ts";
import { asDocument } from "./image-document.ts";

type Change = (config: ImageDocument, text: string) => ImageDocument;

/** By the instruction of a Dockerfile that says the same. */
const CHANGES: Readonly<Record<string, Change>> = {
  CMD: (config, text) => ({ ...config, Cmd: wordsOf(text) }),
  ENTRYPOINT: (config, text) => ({ ...config, Entrypoint: wordsOf(text) }),
  ENV: (config, text) => ({ ...config, Env: withEnv(config["Env"], text) }),
  EXPOSE: (config, text) => ({ ...config, ExposedPorts: withKeys(config["ExposedPorts"], text.split(/\s+/), port) }),
  LABEL: (config, text) => ({ ...config, Labels: { ...asMap(config["Labels"], "Labels"), ...pairOf(text) } }),
  STOPSIGNAL: (config, text) => ({ ...config, StopSignal: text }),
  USER: (config, text) => ({ ...config, User: text }),
  VOLUME: (config, text) => ({ ...config, Volumes: withKeys(config["Volumes"], pathsOf(text), (path) => path) }),
  WORKDIR: (config, text) => ({ ...config, WorkingDir: text }),
};

/**
 * This applies an instruction of a Dockerfile to the `config` object of an image configuration: `CMD ["sh"]`, `ENV a=b`, `USER 1000`.
 *
 * @throws invalid_argument - another instruction, or a malformed one
 */
export function changeConfig(config: ImageDocument, instruction: string): ImageDocument {
  const [, name = "", text = ""] = /^\s*([A-Za-z]+)\s+([^]*?)\s*$/.exec(instruction) ?? [];
  const key = name.toUpperCase();
  const change = Object.hasOwn(CHANGES, key) ? CHANGES[key] : undefined;
  if (change === undefined || text === "") {
    throw invalidArgument(
      `change ${JSON.stringify(instruction)}: expected one of ${Object.keys(CHANGES).join(", ")}, and its arguments`,
    );
  }
  return change(config, text);
}

/** A list in JSON is taken as it is; other text is for a shell. */
function wordsOf(text: string): readonly string[] {
  return listOf(text) ?? ["/bin/sh", "-c", text];
}

function pathsOf(text: string): readonly string[] {
  return listOf(text) ?? text.split(/\s+/);
}

function listOf(text: string): readonly string[] | undefined {
  if (!text.startsWith("[")) return undefined;
  try {
    const list: unknown = JSON.parse(text);
    if (Array.isArray(list) && list.every((each) => typeof each === "string")) return list;
  } catch {
    // Told below.
  }
  throw invalidArgument(`${text}: expected a list of texts in JSON`);
}

function withEnv(present: unknown, text: string): readonly string[] {
  const before = Array.isArray(present) ? present.map(String) : [];
  const [[name = "", value = ""] = []] = Object.entries(pairOf(text));
  return [...before.filter((entry) => !entry.startsWith(`${name}=`)), `${name}=${value}`];
}

/** `key=value`, `key="a value"`, or as in old files `key a value`. */
function pairOf(text: string): Record<string, string> {
  const [, key, quoted, plain] = /^([^\s="]+)(?:=|\s+)(?:"((?:[^"\\]|\\.)*)"|([^]*))$/.exec(text) ?? [];
  if (key === undefined) throw invalidArgument(`${text}: expected key=value`);
  return { [key]: quoted === undefined ? (plain ?? "") : quoted.replaceAll(/\\(.)/g, "$1") };
}

function withKeys(present: unknown, names: readonly string[], spell: (name: string) => string): ImageDocument {
  return { ...asMap(present, "config"), ...Object.fromEntries(names.map((name) => [spell(name), {}])) };
}

function asMap(value: unknown, place: string): ImageDocument {
  return value === undefined || value === null ? {} : asDocument(value, place);
}

function port(text: string): string {
  if (!/^\d{1,5}(-\d{1,5})?(\/(tcp|udp|sctp))?$/.test(text)) throw invalidArgument(`${text}: expected port[/protocol]`);
  return text.includes("/") ? text : `${text}/tcp`;
}
