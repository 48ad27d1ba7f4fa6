/** This writes a value as containerd's ctr prints JSON: four spaces, and `<`, `>` and `&` as escapes. */
export function formatJson(value: unknown, indent = 4): string {
  return escapeHtml(JSON.stringify(value, undefined, indent));
}

/** This writes a value on one line. */
export function formatJsonLine(value: unknown): string {
  return escapeHtml(JSON.stringify(value));
}

function escapeHtml(json: string): string {
  return json.replace(/[<>&\u2028\u2029]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
