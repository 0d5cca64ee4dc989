"""Writes the man page and the completion scripts that the wheel carries: `python -m tools.man_page`.

They are made from the program's own help and checked in; a test holds them to it.
"""

from __future__ import annotations

import re
from pathlib import Path

import click

from buildfarm.cli.app import app
from buildfarm.cli.completion import script

SHARE = Path(__file__).resolve().parent.parent / "share"

_EXITS = (
    ("0", "make succeeded; status: the last build completed"),
    ("1", "status: the last build failed; doctor: something is to be mended; explain: no build has made that output"),
    ("2", "make failed (make's own status)"),
    ("3", "status: a build is running"),
    ("4", "status: interrupted; `buildfarm resume` continues it"),
    ("5", "status: no build is known here"),
    ("64", "usage"),
    ("66", "nothing to resume"),
    ("70", "an error in buildfarm itself"),
    ("71", "this machine lacks what a build needs: no make, an unwritable directory, a full disk"),
    ("75", "another build holds this tree's lock; its pid is named"),
    ("78", "configuration: file, line, field, and what was expected"),
    ("130, 143", "interrupted by SIGINT, SIGTERM; the state is kept"),
)
_VARIABLES = (
    (
        "BUILDFARM_HOSTS, DISTCC_HOSTS, DISTCC_DIR",
        "where the nodes are named, if neither --hosts nor buildfarm.toml does",
    ),
    (
        "DISTCC_BACKOFF_PERIOD, DISTCC_IO_TIMEOUT, DISTCC_FALLBACK, DISTCC_SKIP_LOCAL_RETRY, DISTCC_SSH",
        "as in distcc(1)",
    ),
    ("NO_COLOR", "no colours"),
)
_FILES = (
    (".buildfarm/", "the state of a tree, beside its Makefile; may be deleted when no build runs"),
    ("buildfarm.toml", "in the directory of -C or the nearest above it, then in the user's configuration directory"),
    ("~/.distcc/hosts, /etc/distcc/hosts", "nodes, as distcc has them"),
)


def files() -> dict[Path, str]:
    """What belongs below `share`, by path."""
    return {
        SHARE / "man/man1/buildfarm.1": man_page(),
        SHARE / "bash-completion/completions/buildfarm": script("bash"),
        SHARE / "zsh/site-functions/_buildfarm": script("zsh"),
        SHARE / "fish/vendor_completions.d/buildfarm.fish": script("fish"),
    }


def man_page() -> str:
    """The man page in roff's man macros, man(7)."""
    lines = [
        '.TH BUILDFARM 1 "" "buildfarm" "User Commands"',
        ".SH NAME",
        r"buildfarm \- build projects that build with make on a farm of distccd nodes, and resume them",
        ".SH SYNOPSIS",
        r"\fBbuildfarm\fR \fICOMMAND\fR [\fIOPTIONS\fR] [\fIARGUMENTS\fR]",
        ".SH DESCRIPTION",
        _roff(app.help or ""),
        ".SH COMMANDS",
    ]
    with click.Context(app, info_name="buildfarm") as context:
        for name in app.list_commands(context):
            command = app.get_command(context, name)
            assert command is not None, f"BUG: no command {name}"
            with click.Context(command, info_name=name, parent=context) as inner:
                lines += _command(name, command, inner)
    for title, rows in (("EXIT STATUS", _EXITS), ("ENVIRONMENT", _VARIABLES), ("FILES", _FILES)):
        lines.append(f".SH {title}")
        for term, meaning in rows:
            lines += [".TP", rf"\fB{_escaped(term)}\fR", _escaped(meaning)]
    lines += [
        ".SH EXAMPLES",
        *_examples(app.epilog or ""),
        ".SH SEE ALSO",
        ".BR make (1),",
        ".BR distcc (1),",
        ".BR distccd (1)",
    ]
    return "\n".join(lines) + "\n"


def _command(name: str, command: click.Command, context: click.Context) -> list[str]:
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [f'.SS "{_escaped(f"buildfarm {name} {usage}")}"', _roff(command.help or "")]
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and "--help" not in record[0]:
            lines += [".TP", rf"\fB{_escaped(record[0])}\fR", _roff(record[1])]
    return [*lines, *_examples(command.epilog or "")]


def _examples(epilog: str) -> list[str]:
    return [".PP", ".nf", *(_escaped(line) for line in epilog.replace("\b\n", "").strip("\n").split("\n")), ".fi"]


def _roff(text: str) -> str:
    paragraphs = re.split(r"\n\s*\n", text.strip())
    return "\n.PP\n".join(_escaped(" ".join(paragraph.split())) for paragraph in paragraphs)


def _escaped(text: str) -> str:
    text = text.replace("\\", r"\e").replace("-", r"\-")
    return r"\&" + text if text.startswith((".", "'")) else text


def main() -> None:
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(path.relative_to(SHARE.parent))


if __name__ == "__main__":
    main()
