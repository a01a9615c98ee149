"""``xinc completion``: a script that completes ``xinc`` in bash or zsh.

Everything is read from the parser: commands, options, their choices, and what their values are
(``completes``). Names of models and clips are written into the script as they are when it is made.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterable

from .parsing import Parser

PLAIN = re.compile(r"[\w.-]+")
TEXT = (
    'For bash, put into ~/.bashrc: eval "$(xinc completion bash)". '
    'For zsh, put into ~/.zshrc, behind compinit: eval "$(xinc completion zsh)".'
)

# COMPREPLY is what the shell offers: those of the words that begin as the word does which is typed,
# and files where they make sense. zsh runs the same function through bashcompinit.
SCRIPT = """\
_xinc() {{
  local IFS=$'\\n' word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}"
  local command="${{COMP_WORDS[1]}}" options="" values="" files=""
  if [ "$COMP_CWORD" -le 1 ]; then
    command="" values={commands} options={options}
  fi
  case "$command" in
{cases}
  esac
  case "$word" in
    -*) COMPREPLY=($(compgen -W "$options" -- "$word")) ;;
    *) COMPREPLY=($(compgen -W "$values" -- "$word"; [ -z "$files" ] || compgen -f -- "$word")) ;;
  esac
}}
"""
BASH = "complete -o filenames -F _xinc xinc\n"
ZSH = "autoload -U +X bashcompinit && bashcompinit\n" + BASH

CASE = """\
    {command})
      options={options} values={values} files={files}
      case "$before" in
{choices}
        *) ;;
      esac
      ;;"""
CHOICE = "        {options}) values={values} files={files} ;;"


def add(top: Parser) -> None:
    """Add the subcommand."""
    command = top.command(
        "completion",
        run,
        "print a script that completes commands, options, models and clips",
        "xinc completion bash",
        TEXT,
        stopped="stopped",
    )
    command.add_argument("shell", choices=("bash", "zsh"))
    command.set_defaults(top=top)


def run(args: argparse.Namespace) -> None:
    """Print the script."""
    print(script(args.top, args.shell), end="")


def script(top: Parser, shell: str) -> str:
    """The script for "bash" or "zsh"."""
    names = _names()
    cases = []
    for name, command in top.commands.items():
        cases.append(_case(name, command, names))
    text = SCRIPT.format(
        commands=_quoted(top.commands),
        options=_quoted([*top.option_names, "--debug"]),
        cases="\n".join(cases),
    )
    return text + (ZSH if shell == "zsh" else BASH)


def _names() -> dict[str, list[str]]:
    """What names there are of each kind; those that a shell would not take as they are left out."""
    from xinc_core.clips import list_clips
    from xinc_core.storage import list_models

    known = dict(model=list_models(), clip=list_clips())
    return {kind: list(filter(PLAIN.fullmatch, names)) for kind, names in known.items()}


def _case(name: str, command: Parser, names: dict[str, list[str]]) -> str:
    """The branch of one command: its options, and what may stand behind each."""
    positional: list[str] = []
    takes_files = False
    choices = []
    for action in command.actions():
        values = list(action.choices or names.get(action.completes, ()))
        files = action.choices is None and action.completes in (*names, "file")
        if not action.option_strings:
            positional += values
            takes_files = takes_files or files
        elif action.nargs != 0:
            choice = CHOICE.format(
                options="|".join(action.option_strings),
                values=_quoted(values),
                files="yes" if files else '""',
            )
            choices.append(choice)
    return CASE.format(
        command=name,
        options=_quoted([*command.option_names, "--debug"]),
        values=_quoted(positional),
        files="yes" if takes_files else '""',
        choices="\n".join(choices),
    )


def _quoted(words: Iterable[str]) -> str:
    """Words for ``compgen -W``, a line each, as one word of the shell."""
    return shlex.quote("\n".join(words)) if words else '""'
