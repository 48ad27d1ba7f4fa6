import { invalidArgument, notFound } from "@berth/errors";

import type { RuntimeSpec, SpecOption, SpecUser } from "./spec-model.ts";
import { changeProcess } from "./spec-model.ts";

/** The texts of a root file system's `/etc/passwd` and `/etc/group`, absent where there is no such file. */
export interface UserFiles {
  readonly passwd?: string | undefined;
  readonly group?: string | undefined;
}

/** A line of `/etc/passwd`. */
export interface PasswdEntry {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** A line of `/etc/group`. */
export interface GroupEntry {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

/** runc takes no id above this, although Linux does. */
const MAX_ID = 2 ** 31 - 1;

/** This reads `/etc/passwd`; lines that are not of its form, or whose ids are out of range, are passed over. */
export function parsePasswd(text: string): PasswdEntry[] {
  return lines(text).flatMap(([name = "", , uidText = "", gidText = ""]) => {
    const [uid, gid] = [idOf(uidText), idOf(gidText)];
    return name === "" || uid === undefined || gid === undefined ? [] : [{ name, uid, gid }];
  });
}

/** This reads `/etc/group` by the same rules as {@link parsePasswd}. */
export function parseGroup(text: string): GroupEntry[] {
  return lines(text).flatMap(([name = "", , gidText = "", members = ""]) => {
    const gid = idOf(gidText);
    return name === "" || gid === undefined ? [] : [{ name, gid, members: members.split(",").filter(Boolean) }];
  });
}

/**
 * This resolves `user`, `uid`, `user:group`, `uid:gid`, `uid:group` or `user:gid` the way containerd does: a number need not
 * be in the files (its group is then 0), a name must be.
 *
 * @throws invalid_argument - more than one colon, an empty part, or a number beyond 2^31 - 1
 * @throws not_found - the name is not in the files
 * @see containerd pkg/oci/spec_opts.go, WithUser
 */
export function resolveUser(user: string, files: UserFiles): SpecUser {
  const parts = user.split(":");
  const [owner = "", group] = parts;
  if (parts.length > 2 || owner === "" || group === "") throw invalidArgument(`invalid user ${JSON.stringify(user)}`);
  const entry = resolveOwner(owner, files);
  const gid = group === undefined ? entry.gid : resolveGroup(group, files);
  return { uid: entry.uid, gid, additionalGids: [gid] };
}

function resolveOwner(owner: string, { passwd = "" }: UserFiles): { readonly uid: number; readonly gid: number } {
  if (isNumber(owner)) {
    const uid = checkedId(owner);
    return parsePasswd(passwd).find((entry) => entry.uid === uid) ?? { uid, gid: 0 };
  }
  const entry = parsePasswd(passwd).find(({ name }) => name === owner);
  if (entry === undefined) throw notFound(`user ${JSON.stringify(owner)} is not in /etc/passwd`);
  return entry;
}

function resolveGroup(group: string, { group: text = "" }: UserFiles): number {
  if (isNumber(group)) return checkedId(group);
  const entry = parseGroup(text).find(({ name }) => name === group);
  if (entry === undefined) throw notFound(`group ${JSON.stringify(group)} is not in /etc/group`);
  return entry.gid;
}

/** This sets the user of the process; errors as {@link resolveUser}. */
export function withUser(user: string, files: UserFiles = {}): SpecOption {
  return (spec) => setUser(spec, resolveUser(user, files));
}

/** This sets the user of the process by number. */
export function withUidGid(uid: number, gid: number): SpecOption {
  return (spec) => setUser(spec, { uid, gid, additionalGids: [gid] });
}

/**
 * This sets the additional groups of the process to those that list `user` (a name or a number) in `/etc/group`; the
 * group of the process is always among them.
 */
export function withAdditionalGids(user: string, files: UserFiles = {}): SpecOption {
  const gids = supplementalGids(user, files);
  return (spec) =>
    changeProcess(spec, (process) => {
      const { gid } = process.user;
      return { ...process, user: { ...process.user, additionalGids: gids.includes(gid) ? gids : [gid, ...gids] } };
    });
}

function supplementalGids(user: string, { passwd = "", group = "" }: UserFiles): number[] {
  const name = isNumber(user) ? parsePasswd(passwd).find(({ uid }) => uid === Number(user))?.name : user;
  if (name === undefined) return [];
  return parseGroup(group)
    .filter((entry) => entry.name !== name && entry.members.includes(name))
    .map(({ gid }) => gid);
}

function setUser(spec: RuntimeSpec, user: SpecUser): RuntimeSpec {
  return changeProcess(spec, (process) => {
    const { umask } = process.user;
    return { ...process, user: umask === undefined ? user : { ...user, umask } };
  });
}

function lines(text: string): string[][] {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => line.split(":"));
}

function isNumber(text: string): boolean {
  return /^[+-]?[0-9]+$/.test(text);
}

function idOf(text: string): number | undefined {
  const id = Number(text);
  return /^[0-9]+$/.test(text) && id <= MAX_ID ? id : undefined;
}

function checkedId(text: string): number {
  const id = idOf(text);
  if (id === undefined) throw invalidArgument(`id ${text} is out of range`);
  return id;
}
