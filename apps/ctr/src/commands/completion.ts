import { invalidArgument } from "@berth/errors";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { print } from "../output/print.ts";

/** Each asks this program, by its hidden command `__complete`, for what could stand at the cursor: `<word>\t<description>` in each line. */
const SCRIPTS: Readonly<Record<string, string>> = {
  bash: `_ctr_complete() {
  local words=("\${COMP_WORDS[@]:1:COMP_CWORD}") line
  # Bash takes colons for ends of words: names of images have them.
  if declare -F _get_comp_words_by_ref >/dev/null; then
    local cur prev cword
    _get_comp_words_by_ref -n := -w words -i cword cur prev
    words=("\${words[@]:1:cword}")
  fi
  COMPREPLY=()
  while IFS= read -r line; do
    line=\${line%%$'\\t'*}
    # Bash puts it into the line as it is, where a name like $(...) would be a command.
    [[ $line == *[^A-Za-z0-9_./:@+=,%-]* ]] || COMPREPLY+=("$line")
  done < <("\${COMP_WORDS[0]}" __complete "\${words[@]}" 2>/dev/null)
  declare -F __ltrim_colon_completions >/dev/null && __ltrim_colon_completions "\${words[-1]}"
  return 0
}
complete -o default -F _ctr_complete ctr
`,
  zsh: `#compdef ctr
_ctr() {
  local -a found
  local line
  while IFS= read -r line; do
    local text=\${line%%$'\\t'*} about=\${line#*$'\\t'}
    found+=("\${text//:/\\\\:}\${about:+:$about}")
  done < <("\${words[1]}" __complete "\${(@)words[2,CURRENT]}" 2>/dev/null)
  if (( \${#found} )); then _describe ctr found; else _files; fi
}
if [ "$funcstack[1]" = "_ctr" ]; then _ctr "$@"; else compdef _ctr ctr; fi
`,
  fish: `function __ctr_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l found ($words[1] __complete $words[2..-1] 2>/dev/null)
    if count $found >/dev/null
        string join -- \\n $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c ctr -f -a '(__ctr_complete)'
`,
};

export const completion = defineCommand({
  usage: "bash|zsh|fish",
  description: "Prints what makes a shell complete the commands, flags and names of ctr.",
  examples: [
    "source <(ctr completion bash)",
    'ctr completion zsh > "${fpath[1]}/_ctr"',
    "ctr completion fish > ~/.config/fish/completions/ctr.fish",
  ],
  flags: {},
  async run({ args }) {
    const shell = requireArgument(args, 0, "no shell given: bash, zsh or fish");
    const script = Object.hasOwn(SCRIPTS, shell) ? SCRIPTS[shell] : undefined;
    if (script === undefined)
      throw invalidArgument(`no completion for the shell ${JSON.stringify(shell)}: there is bash, zsh and fish`);
    print(script);
  },
});
