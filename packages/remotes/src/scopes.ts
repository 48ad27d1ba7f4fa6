/** This returns what a token must allow for reading, or writing, a repository. */
export function repositoryScope(repository: string, ...actions: readonly ("pull" | "push")[]): string {
  return `repository:${repository}:${actions.join(",")}`;
}
