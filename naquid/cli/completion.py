"""`naquid completion`: what a shell needs to complete commands and options, made from their own descriptions."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from .arguments import Commands, add_command
from .errors import EXIT_OK

EPILOG = """\
Prints a script for the shell.

examples:
  bash: naquid completion bash > ~/.local/share/bash-completion/completions/naquid
  zsh:  naquid completion zsh > ~/.zfunc/_naquid      (with ~/.zfunc in fpath, before compinit)
  fish: naquid completion fish > ~/.config/fish/completions/naquid.fish
  now:  source <(naquid completion bash)
"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    command = add_command(commands, "completion", "print a completion script for a shell", run, EPILOG)
    command.add_argument("shell", choices=sorted(SHELLS), help="the shell")


def run(options: argparse.Namespace) -> int:
    from .main import parser

    print(SHELLS[options.shell](describe(parser())), end="")
    return EXIT_OK


@dataclass
class Option:
    """names: as typed. takes: "" for a flag, else "file", "folder", "value". choices: the values there are."""

    names: list[str]
    about: str
    takes: str = ""
    choices: list[str] = field(default_factory=list)


@dataclass
class Command:
    """path: the words that lead here. words: commands or values that may follow, each with what it does."""

    path: tuple[str, ...]
    options: list[Option] = field(default_factory=list)
    words: list[tuple[str, str]] = field(default_factory=list)
    files: bool = False


def describe(parser: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> list[Command]:
    """The command and all below it."""
    here = Command(path)
    below: list[Command] = []
    for action in parser._actions:
        about = "" if action.help == argparse.SUPPRESS else _plain(action.help or "")
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: _plain(choice.help or "") for choice in action._choices_actions}
            for name, child in action.choices.items():
                here.words.append((name, helps.get(name, "")))
                below += describe(child, (*path, name))
        elif action.option_strings:
            takes = "" if action.nargs == 0 else _kind(action)
            choices = [str(choice) for choice in action.choices or ()]
            here.options.append(Option(list(action.option_strings), about, takes, choices))
        elif action.choices:
            here.words += [(str(choice), about) for choice in action.choices]
        elif action.metavar == "FILE":
            here.files = True
    return [here, *below]


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("%%", "%")).strip()


def _kind(action: argparse.Action) -> str:
    return {"FOLDER": "folder", "PEM": "file", "PNG": "file"}.get(str(action.metavar), "value")


def _quoted(text: str) -> str:
    """A word of a POSIX shell and of zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


# ---- bash ----


def bash(commands: list[Command]) -> str:
    """Finds the command that was typed so far, then offers its words or options."""
    lines = ["# naquid: completion for bash", "_naquid() {", "  local cur prev path word i", "  COMPREPLY=()"]
    lines += ["  cur=${COMP_WORDS[COMP_CWORD]}", "  prev=${COMP_WORDS[COMP_CWORD-1]}", "  path="]
    nested = " | ".join(f"'{' '.join(command.path)}'" for command in commands if command.path)
    lines += [
        "  for ((i = 1; i < COMP_CWORD; i++)); do",
        "    word=${COMP_WORDS[i]}",
        '    case "${path:+$path }$word" in',
        f'      {nested}) path="${{path:+$path }}$word" ;;',
        "    esac",
        "  done",
        '  case "$path $prev" in',
    ]
    for command in commands:
        for option in command.options:
            if option.takes:
                pattern = " | ".join(_quoted(f"{' '.join(command.path)} {name}") for name in option.names)
                lines.append(f"    {pattern}) {_bash_value(option)}; return ;;")
    lines += ["  esac", '  case "$path" in']
    for command in commands:
        words = [name for option in command.options for name in option.names]
        named = [word for word, _ in command.words]
        lines.append(f"    {_quoted(' '.join(command.path))})")
        lines.append("      if [[ $cur == -* ]]; then")
        lines.append(f'        mapfile -t COMPREPLY < <(compgen -W {_quoted(" ".join(words))} -- "$cur")')
        if named:
            lines += [
                "      else",
                f'        mapfile -t COMPREPLY < <(compgen -W {_quoted(" ".join(named))} -- "$cur")',
            ]
        elif command.files:
            lines += ["      else", '        mapfile -t COMPREPLY < <(compgen -f -- "$cur")']
        lines += ["      fi", "      ;;"]
    lines += ["  esac", "}", "complete -o filenames -F _naquid naquid", ""]
    return "\n".join(lines)


def _bash_value(option: Option) -> str:
    if option.choices:
        return f'mapfile -t COMPREPLY < <(compgen -W {_quoted(" ".join(option.choices))} -- "$cur")'
    how = {"file": "-f", "folder": "-d"}.get(option.takes)
    return f'mapfile -t COMPREPLY < <(compgen {how} -- "$cur")' if how else ":"


# ---- zsh ----


def zsh(commands: list[Command]) -> str:
    """One function for each command, each an _arguments call."""
    lines = ["#compdef naquid", "# naquid: completion for zsh", ""]
    for command in commands:
        lines += [
            f"{_function(command.path)}() {{",
            "  local curcontext=$curcontext state line ret=1",
            "  typeset -A opt_args",
        ]
        nested = any(other.path[:-1] == command.path and other.path for other in commands)
        specs = [spec for option in command.options for spec in _zsh_option(option)]
        if nested:
            specs += [_quoted("1: :->word"), _quoted("*:: :->rest")]
        elif command.words:
            specs.append(_quoted(f"1: :({' '.join(word for word, _ in command.words)})"))
        elif command.files:
            specs.append(_quoted("*: :_files"))
        lines.append("  _arguments -C \\")
        lines += [f"    {spec} \\" for spec in specs]
        lines.append("    && ret=0")
        if nested:
            lines += ["  case $state in", "    word)", "      local -a words_here=("]
            lines += [f"        {_quoted(_colon(word) + ':' + about)}" for word, about in command.words]
            lines += [
                "      )",
                "      _describe command words_here && ret=0",
                "      ;;",
                "    rest)",
                "      case $line[1] in",
            ]
            for word, _ in command.words:
                lines.append(f"        {word}) {_function((*command.path, word))} && ret=0 ;;")
            lines += ["      esac", "      ;;", "  esac"]
        lines += ["  return ret", "}", ""]
    lines += [
        "if [[ $zsh_eval_context[-1] == loadautofunc ]]; then",
        '  _naquid "$@"',
        "else",
        "  compdef _naquid naquid",
        "fi",
        "",
    ]
    return "\n".join(lines)


def _function(path: tuple[str, ...]) -> str:
    return "_".join(["_naquid", *path]).replace("-", "_")


def _colon(text: str) -> str:
    return text.replace(":", "\\:")


def _zsh_option(option: Option) -> Iterator[str]:
    about = option.about.replace("[", "(").replace("]", ")").replace(":", ",")
    value = ""
    if option.takes:
        action = (
            f"({' '.join(option.choices)})"
            if option.choices
            else {"file": "_files", "folder": "_files -/"}.get(option.takes, "")
        )
        value = f":{option.takes}:{action}"
    for name in option.names:
        yield _quoted(f"{name}[{about}]{value}")


# ---- fish ----


def fish(commands: list[Command]) -> str:
    """A condition for each command: its words were typed, and none of a command below it."""
    lines = ["# naquid: completion for fish", "complete -c naquid -f"]
    for command in commands:
        below = [other.path[-1] for other in commands if other.path[:-1] == command.path and other.path]
        parts = [f"__fish_seen_subcommand_from {word}" for word in command.path]
        if below:
            parts.append(f"not __fish_seen_subcommand_from {' '.join(below)}")
        condition = _fish_quoted("; and ".join(parts)) if parts else "''"
        for word, about in command.words:
            lines.append(f"complete -c naquid -n {condition} -a {_fish_quoted(word)} -d {_fish_quoted(about)}")
        for option in command.options:
            names = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names]
            line = f"complete -c naquid -n {condition} {' '.join(names)} -d {_fish_quoted(option.about)}"
            if option.choices:
                line += f" -x -a {_fish_quoted(' '.join(option.choices))}"
            elif option.takes:
                line += {"file": " -r -F", "folder": " -x -a '(__fish_complete_directories)'"}.get(option.takes, " -x")
            lines.append(line)
        if command.files:
            lines.append(f"complete -c naquid -n {condition} -F")
    return "\n".join([*lines, ""])


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}
