import { invalidArgument } from "@berth/errors";

/** What a plugin is called. */
export interface PluginName {
  /** Two digits. */
  readonly index: string;
  readonly name: string;
}

/**
 * This checks what a plugin calls itself: an index of two digits, a name of letters, digits and `-_.+`.
 * @throws invalid_argument
 */
export function checkPluginName({ index, name }: PluginName): void {
  checkIndex(index);
  if (!/^[a-zA-Z0-9_.+-]+$/.test(name)) throw invalidArgument(`invalid name of an NRI plugin: ${JSON.stringify(name)}`);
}

/** This reads the file name of a pre-installed plugin: `<index>-<name>`. @throws invalid_argument */
export function parsePluginFileName(fileName: string): PluginName {
  const dash = fileName.indexOf("-");
  if (dash === -1) throw invalidArgument(`${JSON.stringify(fileName)} is no <index>-<name> of an NRI plugin`);
  const index = fileName.slice(0, dash);
  checkIndex(index);
  return { index, name: fileName.slice(dash + 1) };
}

/** This writes `<index>-<name>`. */
export function formatPluginName({ index, name }: PluginName): string {
  return `${index}-${name}`;
}

function checkIndex(index: string): void {
  if (!/^[0-9]{2}$/.test(index)) {
    throw invalidArgument(`invalid index of an NRI plugin: ${JSON.stringify(index)} is not two digits`);
  }
}
