"""Makes jobs of C and C++ units: P2d by default, P2 where it must be, P3d and P3r for the right words.

It runs the unit's one preprocessing on this machine and sends nothing; Fortran is `recipe_fortran.py`.

*Theory of operation.*  P2d sends the output of `-E -fdirectives-only`: directives are done here, macros are
expanded on the node, so that columns in messages, debug information and sanitizers' data are those of the
source.  It fails to mean the same where a macro's value is the compile's own: dates and times (the master's are
right), `__BASE_FILE__` (the node's temporary name).  Then P2 sends plain `-E`, whose columns are wrong; units
whose outputs contain columns are compiled here in that case.

A node knows no source file, so its messages have no source lines and carets.  P3d sends the same text by
protocol 3 with the files that the first answer named.  Names in messages are opened as they are spelled, and
absolute ones can't be provided inside the node's temporary tree; P3r spells them otherwise (`linemarkers.py`).
Carrying on without a second compile was rejected: carets can't be guessed from the text.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from buildfarm.dispatch import local, protocol
from buildfarm.dispatch.driver import Drivers, Words, is_clang
from buildfarm.dispatch.linemarkers import entered_files, prefix_maps, restored, root_link, rooted, told_files
from buildfarm.dispatch.palette import plain as without_colours
from buildfarm.dispatch.precompiled import REASON, Precompiled
from buildfarm.dispatch.prepared import CannotTravel, Made, NotAsText, Prepared, Repeat
from buildfarm.dispatch.stack_usage import StackUsage, asked_for
from buildfarm.dispatch.stamps import SYSTEM, Stamp, stamp
from buildfarm.dispatch.tree import OURS, Tree
from buildfarm.model import Invocation, Job, Language, SentFile, Text, Unit
from buildfarm.value import dataclass

# Or a name of such a form that is put together: `#define TELL(x) __##x##__`.
_COMPILE_TIME_MACRO = re.compile(rb"__(?:(?:DATE|TIME|TIMESTAMP|BASE_FILE)__|\s*##\s*\w+\s*##\s*__\b)")
# The assembler reads these by a name that means nothing, or another file, on a node.  No file is named where the
# string ends and no other follows: `strncmp(p, ".include", 8)`.  `f(".include", NAME)` counts: f may be a macro.
_ASSEMBLED_FILE = re.compile(
    rb"""\.(?:incbin\b|include(?=\s*\\*"))
        (?! [ ]*(?:\\+")?" \s* (?: ,\s*(?:[0-9]|sizeof\b) | \)(?!\s*["\w]) ) )""",
    re.VERBOSE,
)
# Literals are passed over, open ones as far as their line goes (lex.cc: lex_string), and numbers with their `'`.
_SPLICE = re.compile(rb"\\[ \t\f\v\r]*\n")
_LITERAL_OR_COMMENT = re.compile(
    rb"""( (?<!\w)(?:u8|[uUL])?R"([^ ()\\\s]{0,16})\(.*?\)\2" | "(?:\\.|[^"\\\n])*"? | '(?:\\.|[^'\\\n])*'?
         | (?<!\w)\.?[0-9](?:'?\w|\.)* )
       | /\*.*?\*/ | //[^\n]*""",
    re.VERBOSE | re.DOTALL,
)
_DEFINED = re.compile(rb"^[ \t]*#[ \t]*define\b[^\n]*", re.MULTILINE)
_RAW = re.compile(rb'R"[^ ()\\\s]{0,16}\(')
_DIVIDED = re.compile(rb"//\*[^\n]*\*/")  # before C99 it may be a division and a comment
# `_Pragma (#message)` has a macro's parameter (glibc's sys/cdefs.h), and macros are expanded on the node.
_LOST_PRAGMA = re.compile(rb"[pP]ragma[^\w#]+(push_macro|pop_macro|redefine_extname|message)\b")  # GCC 12
_MESSAGE = re.compile(rb"^#pragma message\b", re.MULTILINE)
_COLUMN_MACRO = re.compile(rb"__builtin_(?:source_location|COLUMN)\b")
# These point into string literals, which gcc refuses behind line markers (input.cc: get_substring_ranges_for_loc).
_POINTS_INTO_STRINGS = b"[-Wformat"
_DEFINITION = re.compile(rb"\s*(?:#|%:)\s*define\b")
_STREAM = re.compile(rb"/(?:dev/(?!shm/)|proc/)")  # which only the compiler that the recipe starts has open
_PREPROCESSED = ("-fpreprocessed", "-fdirectives-only")
_DRIVERS = Drivers()
_PRECOMPILED = Precompiled()
_STACK_USAGE = StackUsage()
_PREINCLUDED = b"stdc-predef.h"  # which the compiler includes by itself (c-opts.cc)


async def prepare(
    unit: Unit, invocation: Invocation, tool_path: str, *, recipe: str | None, node_tool: str, workdir: Path
) -> Prepared:
    """Preprocess `unit` with the compiler `tool_path` and make its job for the node's `node_tool`.

    `recipe` None chooses; "P2" forces plain preprocessing.  Raises CannotTravel.
    """
    depfile = _Depfile.of(unit, invocation.cwd, workdir)
    clang = is_clang(tool_path)
    if unit.stack_usage and (clang or not await _STACK_USAGE.can_be_asked(tool_path, invocation.env)):
        raise CannotTravel("-fstack-usage: writes files beside the object")
    if unit.listing is not None and unit.debug:
        raise NotAsText("its listing tells columns, which preprocessing changes")
    plain = recipe == "P2" or unit.full_preprocessing or clang
    first_try = result = await _preprocess(unit, invocation, tool_path, depfile, plain=plain)
    entered = entered_files(result.stdout)
    if any(map(_STREAM.match, entered)):
        raise CannotTravel("it includes a stream of the recipe's")
    lost = frozenset() if plain else _lost_pragmas(unit, invocation.cwd, entered)
    if not plain and (
        (not result.succeeded and b"-fdirectives-only" in result.stderr)
        or await _tells_of_the_compile(unit, invocation, tool_path, result.stdout)
        or not lost <= {b"message"}
    ):
        plain = True
        result = await _preprocess(unit, invocation, tool_path, depfile, plain=True)
    elif lost:
        whole = await _preprocess(unit, invocation, tool_path, depfile, plain=True)
        if _MESSAGE.search(whole.stdout):  # most are in an `#if` that does not hold
            plain, result = True, whole
    if not result.succeeded:
        raise CannotTravel("preprocessing failed")
    text = result.stdout
    if result is not first_try:
        entered = entered_files(text)
    first = next((os.fsdecode(name) for name in entered if os.path.basename(name) != _PREINCLUDED), None)
    if _PRECOMPILED.may_be_used(unit, invocation, first):
        raise CannotTravel(REASON)
    if plain and (
        unit.link_time
        or unit.stack_usage is not None
        or _has_columns(unit.compile_arguments)
        or _COLUMN_MACRO.search(text)
    ):
        raise NotAsText("its outputs contain columns, which full preprocessing changes")
    if plain and not clang and not _optimizes(unit.compile_arguments):
        raise NotAsText("without -O its code depends on columns, which full preprocessing changes")
    if _may_assemble_a_file(text):
        raise CannotTravel("its assembler code reads a file of this machine")
    argv = (
        node_tool,
        *map(_spelled, unit.compile_arguments),
        *(() if plain else _PREPROCESSED),
        *((f"-fdebug-compilation-dir={invocation.cwd}",) if clang and unit.debug else ()),
        "-S" if unit.returns_text else "-c",
        "unit.cc" if unit.language is Language.CXX else "unit.c",
        "-o",
        "unit.o",
    )
    job = Job(argv, source=Text(text), recipe="P2" if plain else "P2d")
    printed = result.stderr

    def words(serr: bytes) -> bytes | None:
        return None if serr else printed

    def repeat(serr: bytes) -> Repeat | None:
        return None if plain or printed else _repeat(unit, invocation.cwd, job, serr)

    prepared = Prepared(
        job,
        inputs=_absolute(invocation.cwd, [os.fsencode(unit.source), *entered]),
        outputs_made=() if depfile is None else (depfile.made,),
        stderr=printed,
        words=words,
        repeat=repeat,
    )
    if unit.stack_usage is None:
        return prepared
    sent = _as_file(unit, invocation.cwd, job, text)
    return asked_for(prepared, sent, os.path.join(invocation.cwd, unit.stack_usage), workdir)


def _may_assemble_a_file(text: bytes) -> bool:
    """Whether its assembler code may read a file; what stands in comments only is none."""
    return b".inc" in text and _stands_in_code(_ASSEMBLED_FILE, text)


async def _tells_of_the_compile(unit: Unit, invocation: Invocation, tool_path: str, text: bytes) -> bool:
    """Whether a macro whose value is the compile's own may be expanded.

    Projects define one for all units by such a macro (`-DBUILT='__DATE__'`), and one unit uses it: `-dU` tells which
    definitions are used, by pasted names too.
    """
    if not _stands_in_code(_COMPILE_TIME_MACRO, text):
        return False
    if _DIVIDED.search(text) or _RAW.search(text):  # what looks like a definition may be none
        return True
    if _COMPILE_TIME_MACRO.search(_DEFINED.sub(b"", _without_comments(text))):
        return True
    used = await _preprocess(unit, invocation, tool_path, None, plain=True, definitions=True)
    return not used.succeeded or _COMPILE_TIME_MACRO.search(used.stdout) is not None


def _stands_in_code(words: re.Pattern[bytes], text: bytes) -> bool:
    """Whether `words` are found elsewhere than in comments, which -fdirectives-only leaves (vim's config.h)."""
    return words.search(text) is not None and words.search(_without_comments(text)) is not None


def _without_comments(text: bytes) -> bytes:
    return text if _DIVIDED.search(text) else _LITERAL_OR_COMMENT.sub(rb"\1 ", _SPLICE.sub(b"", text))


@dataclass(frozen=True, slots=True)
class _Depfile:
    arguments: tuple[str, ...]
    made: Made

    @staticmethod
    def of(unit: Unit, cwd: str, workdir: Path) -> _Depfile | None:
        if unit.depfile is None:
            return None
        final = os.path.join(cwd, unit.depfile.path)
        temporary = str(workdir / (os.path.basename(final) or "depfile"))
        arguments = tuple(_redirected(arg, temporary) for arg in unit.depfile.arguments)
        if not any(arg.startswith("-Wp,") for arg in arguments):
            arguments = (*arguments, f"-MF{temporary}")  # the last -MF wins (c-opts.cc: OPT_MF)
        return _Depfile(arguments, Made(temporary, final))


def _redirected(arg: str, depfile: str) -> str:
    """`-Wp,-MD,FILE` with another file, which `-MF` would not overrule."""
    if not arg.startswith("-Wp,-M"):
        return arg
    words = arg.split(",")
    before = ("", *words)
    return ",".join(depfile if option in ("-MD", "-MMD") else word for option, word in zip(before, words, strict=False))


async def _preprocess(
    unit: Unit,
    invocation: Invocation,
    tool_path: str,
    depfile: _Depfile | None,
    *,
    plain: bool,
    definitions: bool = False,
) -> local.Finished:
    """`definitions`: those that are used stand in the text as well."""
    argv = [tool_path, *unit.preprocess_arguments, "-E"]
    if definitions:
        argv.append("-dU")
    if not plain:
        argv.append("-fdirectives-only")
    if unit.link_time:
        argv.append("-fworking-directory")  # which the object names, with -g or without
    if depfile is not None:
        argv += depfile.arguments
    argv.append(unit.source)
    words = Words(unit.source, None if depfile is None else depfile.made.temporary, unit.output)
    return await _DRIVERS.run(argv, words, cwd=invocation.cwd, env=invocation.env)


def _spelled(argument: str) -> str:
    """distccd 3.4 refuses `-flto` (arg.c: dcc_scan_args), and no other name of it (opts-common.cc: option_map)."""
    return "--lto" if argument == "-flto" else argument


def _lost_pragmas(unit: Unit, cwd: str, entered: Sequence[bytes]) -> frozenset[bytes]:
    """Names of pragmas that -fdirectives-only leaves out and that stand in the unit's files."""
    names = (unit.source, *map(os.fsdecode, entered))
    paths = (os.path.join(cwd, name) for name in names)
    return frozenset().union(*(_lost_in(path, None if path.startswith(SYSTEM) else stamp(path)) for path in paths))


@functools.lru_cache(maxsize=1 << 16)
def _lost_in(path: str, _: Stamp | None) -> frozenset[bytes]:
    """Looked up once a file; what packages have installed stays as it is in a build."""
    try:
        return frozenset(_LOST_PRAGMA.findall(Path(path).read_bytes()))
    except OSError:
        return frozenset()


def _has_columns(arguments: Sequence[str]) -> bool:
    return any(a.startswith("-fsanitize") for a in arguments)


def _optimizes(arguments: Sequence[str]) -> bool:
    """Whether the last -O says so.

    Without, GCC keeps a jump of its own for every place in the source, and a `nop` where two of them differ by
    their column only, as those of one macro call do.
    """
    levels = [arg for arg in arguments if arg.startswith("-O")]
    return bool(levels) and levels[-1] != "-O0"


def _repeat(unit: Unit, cwd: str, job: Job, serr: bytes) -> Repeat | None:
    """P3d when the messages name relative files only, else P3r, with the files that they name."""
    told = without_colours(serr)
    if _POINTS_INTO_STRINGS in told:
        return None
    text = protocol.plain(job)
    named = [name for name in told_files(text, serr) if os.path.isfile(os.path.join(os.fsencode(cwd), name))]
    absolute = any(name.startswith(b"/") for name in named)
    tree = Tree()
    try:
        for name in named:
            (path,) = _absolute(cwd, (name,))
            content = Path(path).read_bytes()
            if _tells_of_a_macro_written_anew(text, name, content, told):
                return None
            tree.add(path, content)
    except OSError:
        return None
    if absolute:
        text = rooted(text)
    others = (*tree.files(), *((root_link(cwd),) if absolute else ()))
    sent = _as_file(unit, cwd, job, text, *(prefix_maps(unit.compile_arguments) if absolute else ()))
    return Repeat(
        replace(sent, files=(*sent.files, *others), recipe="P3r" if absolute else "P3d"),
        words=restored if absolute else _unchanged,
    )


def _as_file(unit: Unit, cwd: str, job: Job, text: bytes, *options: str) -> Job:
    """`job` by protocol 3, in a directory that is called as the unit's own."""
    source = f"{OURS}{os.path.basename(unit.source)}.{'ii' if unit.language is Language.CXX else 'i'}"
    file = SentFile(os.path.join(cwd, source), text)
    return Job((*job.argv[:-3], *options, source, "-o", "unit.o"), cwd=cwd, files=(file,), recipe="P3d")


def _tells_of_a_macro_written_anew(text: bytes, name: bytes, content: bytes, messages: bytes) -> bool:
    """Whether a message tells of the definition of a macro that does not stand in `text` as it does in its file.

    `-fdirectives-only` writes definitions anew (c-ppoutput.cc: cb_define): one line, spaces of its own, no comments, so
    that columns and lines are others, and -Wimplicit-fallthrough misses `/* fall through */`.
    """
    lines = content.split(b"\n")
    for number in {int(told) for told in re.findall(rb"(?<![^\s])%s:(\d+)" % re.escape(name), messages)}:
        line = lines[number - 1] if 0 < number <= len(lines) else b""
        if _DEFINITION.match(line) and b"\n%s\n" % line not in text:
            return True
    return False


def _unchanged(serr: bytes) -> bytes:
    return serr


def _absolute(cwd: str, names: Sequence[bytes]) -> tuple[str, ...]:
    paths = (os.path.join(cwd, os.fsdecode(name).removeprefix("./")) for name in names)
    return tuple(map(sys.intern, dict.fromkeys(paths)))  # units have most of them in common
