import { isInvalidArgument } from "@berth/errors";
import { describe, expect, it } from "vitest";

import { booleanFlag, durationFlag, integerFlag, listFlag, numberFlag, stringFlag, unsupportedFlag } from "./flags.ts";
import { parseFlags } from "./parse-flags.ts";

const FLAGS = {
  tty: booleanFlag("a terminal", { aliases: ["t"] }),
  env: listFlag("variables"),
  cwd: stringFlag("directory", { env: "HERE" }),
  size: integerFlag("size", { initial: 4 }),
  cpus: numberFlag("processors"),
  wait: durationFlag("time"),
  gpus: unsupportedFlag("there are none"),
};

const parse = (line: string, environment = {}) => parseFlags(FLAGS, line.split(" ").filter(Boolean), environment);

describe("parseFlags", () => {
  it.each([
    ["", {}, []],
    ["--tty image id", { tty: true }, ["image", "id"]],
    ["-t -tty=false x", { tty: false }, ["x"]],
    ["--env A=1 -env=B=2 x", { env: ["A=1", "B=2"] }, ["x"]],
    ["--cwd --tty x", { cwd: "--tty" }, ["x"]],
    ["--cwd= x", { cwd: "" }, ["x"]],
    ["--size 0x10 --cpus .5 --wait 1m", { size: 16, cpus: 0.5, wait: 60_000 }, []],
    ["--size=-1", { size: -1 }, []],
    ["image id ls -t --env x", {}, ["image", "id", "ls", "-t", "--env", "x"]],
    ["-t -- --env", { tty: true }, ["--env"]],
    ["- -t", {}, ["-", "-t"]],
  ])("%j", (line, values, args) => {
    const parsed = parse(line);
    expect(parsed.flags).toEqual({
      tty: false,
      env: [],
      cwd: "",
      size: 4,
      cpus: 0,
      wait: 0,
      gpus: undefined,
      ...values,
    });
    expect(parsed.args).toEqual(args);
  });

  it("reads the environment where a flag is not given", () => {
    expect(parse("", { HERE: "/env" }).flags.cwd).toBe("/env");
    expect(parse("--cwd /flag", { HERE: "/env" }).flags.cwd).toBe("/flag");
    expect(parse("", { HERE: "" }).flags.cwd).toBe("");
  });

  it.each(["--help", "-h", "-t --help image"])("%j asks for help", (line) => {
    expect(parse(line).help).toBe(true);
  });

  it.each([
    "--nothing",
    "-x",
    "--cwd",
    "--tty=perhaps",
    "--size 1.5",
    "--size 12abc",
    "--size 9007199254740993",
    "--cpus 1,5",
    "--wait 5",
    "--gpus all",
    "--constructor",
    "---tty",
  ])("%j is refused", (line) => {
    let thrown: unknown;
    try {
      parse(line);
    } catch (error) {
      thrown = error;
    }
    expect(isInvalidArgument(thrown)).toBe(true);
  });
});
