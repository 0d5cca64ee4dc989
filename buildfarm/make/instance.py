"""One call of make as a value, and the MAKEFLAGS of an environment taken apart.

It runs nothing and reads no file; the command line is `make/arguments.py`'s.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence

from buildfarm.errors import UsageError
from buildfarm.make import arguments
from buildfarm.value import dataclass

_DROPPED = (
    "--jobs", "--load-average", "--output-sync", "--debug", "--shuffle", "--jobserver-auth", "--jobserver-fds",
    "--jobserver-style", "--sync-mutex", "--trace",
)  # fmt: skip
_WORD = re.compile(r"(?:[^\\ ]|\\.)+", re.DOTALL)
_DEFINITIONS = re.compile(r"(?:^| )-- ")  # variables follow
_JOBS = re.compile(r"(?:^| )(?:-j[0-9]*|--jobs(?:=[0-9]+)?|--jobserver-(?:auth|fds)=[^ ]+)(?= |$)")
_VOLATILE = frozenset(
    {"MAKEFLAGS", "MFLAGS", "MAKE_TERMOUT", "MAKE_TERMERR", "MAKELEVEL", "MAKE_RESTARTS"}
    | {"PWD", "OLDPWD", "SHLVL", "_", "COLUMNS", "LINES"}
)


@dataclass(frozen=True, slots=True)
class Flags:
    """A MAKEFLAGS value without -j, -l, -O, -d and the jobserver, which say nothing of the work to do."""

    letters: str
    words: tuple[str, ...]
    variables: tuple[str, ...]  # definitions, escaped as they stood

    def text(self) -> str:
        """As make writes it: the letters first, without a dash."""
        tail = ("--", *self.variables) if self.variables else ()
        return " ".join((self.letters, *self.words, *tail))


@dataclass(frozen=True, slots=True)
class MakeInstance:
    """One make call: the top-level one, or a recursive one as the stub sees it or as a plan predicts it."""

    directory: str  # absolute: the cwd of the call, before -C
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    makelevel: int = 0  # make's own level: MAKELEVEL of its environment

    def key(self) -> str:
        """The same for calls that do the same work: -j, the jobserver and shells' own variables don't count.

        Raises UsageError for words that make would not take.
        """
        words = arguments.parse(self.argv[1:])
        flags = split_flags(self.environment.get("MAKEFLAGS", ""))
        parts = [
            os.path.normpath(os.path.join(self.directory, words.directory)),
            os.path.basename(self.argv[0]),
            str(self.makelevel),
            *words.make_words,
            "".join(sorted(set(flags.letters) - {"w"})),
            *flags.words,
            *flags.variables,
        ]
        for name, value in sorted(self.environment.items()):
            if name not in _VOLATILE and not name.startswith("BUILDFARM_"):
                parts.append(f"{name}={value}")
        return hashlib.blake2b(os.fsencode("\0".join(parts)), digest_size=16).hexdigest()


def jobs_of(environment: Mapping[str, str]) -> int | None:
    """-j in MAKEFLAGS or GNUMAKEFLAGS, as `MakeArguments.jobs`; None: there is none, or it came with a job server."""
    jobs = None
    for name in ("GNUMAKEFLAGS", "MAKEFLAGS"):  # make reads them in this order (main.c)
        options = _WORD.findall(_DEFINITIONS.split(environment.get(name, ""))[0])
        if options and not options[0].startswith("-") and "=" not in options[0]:
            options[0] = "-" + options[0]
        if any(word.startswith("--jobserver") for word in options):
            return None
        try:
            said = arguments.parse(options).jobs
        except UsageError:
            continue
        jobs = said if said is not None else jobs
    return jobs


def flags_in_order(argv: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """MAKEFLAGS for a call that names several goals and no -j, without the caller's; None: there is nothing to change.

    A make without -j builds its goals one after the other, and recipes count on that: `$(MAKE) clean all`.
    """
    flags = environment.get("MAKEFLAGS", "")
    options, *definitions = _DEFINITIONS.split(flags, maxsplit=1)
    alone = " -- ".join((_JOBS.sub("", options), *definitions))
    try:
        words = arguments.parse(argv[1:])
    except UsageError:
        return None
    return alone if len(words.goals) > 1 and words.jobs is None and alone != flags else None


def split_flags(text: str) -> Flags:
    """Take a MAKEFLAGS value apart (manual, "Communicating Options to a Sub-make")."""
    letters = ""
    kept: list[str] = []
    variables: list[str] = []
    only_variables = False
    for number, word in enumerate(_WORD.findall(text)):
        if word == "--":
            only_variables = True
        elif only_variables or ("=" in word and not word.startswith("-")):
            variables.append(word)
        elif number == 0 and not word.startswith("-"):
            letters = word
        elif word.startswith("--") or word[:2] in ("-I", "-E"):
            if word.partition("=")[0] not in _DROPPED:
                kept.append(word)
        elif word.startswith("-") and word[1:2] not in ("j", "l", "O"):
            letters += word[1:]
    return Flags(letters.replace("d", ""), tuple(kept), tuple(variables))
