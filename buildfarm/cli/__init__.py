"""The command line: `main` is the console script and the only place that prints errors and exits.

It maps errors to exit codes (docs/reference.md, "Exit codes"); what commands do stands in their modules, which are
imported when they are asked for, so that `status` starts quickly.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from click import ClickException

INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h
OS_ERROR = 71  # EX_OSERR
USAGE_ERROR = 64  # EX_USAGE
INTERRUPTED = 130  # 128 + SIGINT
BROKEN_PIPE = 141  # 128 + SIGPIPE
COLLECT_EVERY = 60_000  # new containers between collections: a start makes 45,000, which all live on


def program() -> NoReturn:
    """`main` as a process of its own: it leaves without taking the interpreter apart, which takes 20 ms.

    Nothing waits for that: the journal is closed, what was printed is flushed, threads that are left are daemons'.
    """
    gc.set_threshold(COLLECT_EVERY)
    _stand_in_for_closed_streams()
    try:
        main()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    try:
        sys.stderr.flush()
    except OSError:
        pass
    if status == INTERRUPTED and _is_in_front():
        _end_by_sigint()
    os._exit(status)


def _is_in_front() -> bool:
    """Whether we are what a terminal's Ctrl-C reaches."""
    try:
        with open("/dev/tty", "rb", buffering=0) as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False


def _end_by_sigint() -> None:
    """End as make does: a shell whose command exits after a Ctrl-C, even with 130, goes on to the next one."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)


def _stand_in_for_closed_streams() -> None:
    """Where 0, 1 or 2 is closed (`>&-`), let no database or socket of ours get its number.

    make finds it closed still, for what os.open opens is closed by execve (PEP 446).
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w")


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run the command line `words` (without the program's name; None: the process's own) and exit."""
    status = _status(list(sys.argv[1:] if words is None else words))
    try:
        sys.stdout.flush()
    except OSError:
        # The reader has gone (`buildfarm status | head -1`); Python must not complain at its exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = status or BROKEN_PIPE
    sys.exit(status)


def _status(words: list[str]) -> int:
    import click

    from buildfarm.cli.app import app
    from buildfarm.errors import BuildfarmError

    if "_BUILDFARM_COMPLETE" in os.environ:
        from buildfarm.cli.completion import answer

        return answer(os.environ["_BUILDFARM_COMPLETE"])
    try:
        # Not click's own `main`: it turns a broken pipe into exit status 1, which `status` has a meaning for.
        with app.make_context("buildfarm", words) as context:
            status = app.invoke(context)
        return status if isinstance(status, int) else 0
    except BuildfarmError as error:
        _complain(error.message, error.hint)
        return error.exit_code
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USAGE_ERROR
    except click.ClickException as error:
        command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "buildfarm"
        said = " ".join(error.format_message().split())  # click lists what may be chosen in lines with tabs
        _complain(said, f"{_names_tree(error)}`{command} --help` shows how it is used")
        return USAGE_ERROR
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return BROKEN_PIPE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _complain(f"{where}{error.strerror or error}", None)
        return OS_ERROR
    except Exception:
        import traceback

        traceback.print_exc()
        _complain("BUG: this is an error in buildfarm itself", "please report it with the lines above")
        return INTERNAL_ERROR


def _names_tree(error: ClickException) -> str:
    """For who has named the tree as if it were a command's argument."""
    context = getattr(error, "ctx", None)
    known = [parameter.name for parameter in context.command.params] if context is not None else []
    return "a tree is named by -C DIR; " if "extra argument" in error.message and "directory" in known else ""


def _complain(message: str, hint: str | None) -> None:
    from buildfarm.report.text import harmless

    text = "".join(f"buildfarm: {line}\n" for line in harmless(message).split("\n"))
    if hint:
        first, *rest = harmless(hint).split("\n")
        text += f"  hint: {first}\n" + "".join(f"    {line}\n" for line in rest)
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        pass  # nobody listens; the exit status still tells
