"""The compiler calls that a `libtool --mode=compile` makes: one of position-independent code, one of plain code.

It reads no file: the text of the project's `libtool` script, which holds its settings, is handed in.  Where anything
is not as libtool 2.4 does it (ltmain.sh, `func_mode_compile`), it foretells nothing; make and libtool will tell.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence

_SHELLS = frozenset({"sh", "bash", "dash", "ksh", "zsh"})
_SETTING = re.compile(r"^([a-z_]+)=(.*)$", re.MULTILINE)
_TAG = r"^# ### BEGIN LIBTOOL TAG CONFIG: {}$(.*?)^# ### END LIBTOOL TAG CONFIG: {}$"
_SETS_LOCALE = "\nLC_ALL=C\nLANGUAGE=C\nexport LANGUAGE LC_ALL\n"
_PASSED = ("--silent", "--quiet", "--verbose", "--no-verbose", "--no-quiet", "--no-silent", "--warnings=")
_NEEDED = ("build_libtool_libs", "build_old_libs", "pic_mode", "pic_flag", "compiler_c_o", "objdir", "need_locks")


def compiles(argv: Sequence[str], read: Callable[[str], str | None]) -> tuple[tuple[str, ...], ...]:
    """The calls that this command makes of a compiler, in order; none: it is no compile by libtool that is understood.

    `read(path)` gives the text of the script of that name, as typed, or None.
    """
    first = 1 if os.path.basename(argv[0]) in _SHELLS else 0
    if len(argv) < first + 3 or not argv[first].endswith("libtool"):
        return ()
    script, words, tags, mode = argv[first], list(argv[first + 1 :]), [], ""
    while words and words[0].startswith("-"):
        word = words.pop(0)
        if word.startswith("--tag="):
            tags.append(word[6:])
        elif word.startswith("--mode="):
            mode = word[7:]
        elif not word.startswith(_PASSED):
            return ()
    if mode != "compile" or not words:
        return ()
    text = read(script)
    return _calls(words, _settings(text, tags)) if text is not None else ()


def environment(argv: Sequence[str], read: Callable[[str], str | None]) -> dict[str, str]:
    """What the script of a command that `compiles` understands sets for the compiler where it is not set.

    Since 2.4.3 libtool runs in the C locale and puts back what the user had set, but unsets nothing (funclib.sh).
    """
    script = argv[1] if os.path.basename(argv[0]) in _SHELLS else argv[0]
    return {"LC_ALL": "C", "LANGUAGE": "C"} if _SETS_LOCALE in (read(script) or "") else {}


def _settings(text: str, tags: Sequence[str]) -> dict[str, str]:
    head = text.partition("\n# ### END LIBTOOL CONFIG")[0]
    found = _assignments(head)
    for tag in tags:
        block = re.search(_TAG.format(re.escape(tag), re.escape(tag)), text, re.MULTILINE | re.DOTALL)
        if block is not None:
            found.update(_assignments(block[1]))
    return found


def _assignments(text: str) -> dict[str, str]:
    """The settings that are plain words, quoted or not."""
    plain = {}
    for name, value in _SETTING.findall(text):
        unquoted = value[1:-1] if value[:1] == value[-1:] == '"' and len(value) > 1 else value
        if name in _NEEDED:
            plain[name] = unquoted if not set("`$\\\"'") & set(unquoted) else "?"
    return plain


def _calls(words: Sequence[str], settings: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    if any(settings.get(name, "?") == "?" for name in _NEEDED):
        return ()
    shared, static, pic = (settings[name] for name in ("build_libtool_libs", "build_old_libs", "pic_mode"))
    if settings["compiler_c_o"] != "yes" or settings["need_locks"] not in ("no", ""):
        return ()
    base: list[str] = []
    pie: list[str] = []
    output = ""
    arguments = iter(words)
    for word in arguments:
        if word == "-o":
            output = next(arguments, "")
        elif word in ("-pie", "-fpie", "-fPIE"):
            pie.append(word)
        elif word == "-shared":
            static = "no"
        elif word == "-static":
            shared, static = "no", "yes"
        elif word == "-prefer-pic":
            pic = "yes"
        elif word in ("-prefer-non-pic", "-Xcompiler") or word.startswith("-Wc,"):
            return ()
        elif word != "-no-suppress":
            base.append(word)
    if not output.endswith(".lo") or len(base) < 2:
        return ()
    directory, name = os.path.split(output)
    plain = os.path.join(directory, name[:-2] + "o")
    flags = settings["pic_flag"].split()
    calls = []
    if shared == "yes":
        private = os.path.join(directory, settings["objdir"], name[:-2] + "o")
        calls.append((*base, *flags, "-o", private))
    if static == "yes":
        calls.append((*base, *(flags if pic == "yes" else pie), "-o", plain))
    return tuple(calls)
