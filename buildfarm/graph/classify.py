"""Says what a tool call does: a unit that may travel, a link, an archive, a query, or something to run here.

It looks at the arguments (and a few environment variables) only: it reads no file and runs no compiler, so what
depends on the file system (a precompiled header beside an `-include`d one, a `.incbin`) is for the dispatcher.

Theory of operation: `tool_of` names the tool by argv[0] alone, so `ccache gcc ...` and `libtool ...` are not
ours: they run here, and the compiler that they start comes by itself.  Each argument is looked up in
`options`, one pass collects what the command asks for, and the first option that may not travel gives the
reason.  Whatever isn't understood runs here; nothing is refused.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from buildfarm.graph.options import (
    COMPILE,
    FORTRAN,
    NATIVE_REASON,
    PREPROCESS,
    Option,
    Role,
    look_up,
)
from buildfarm.graph.response import expand_response, response_files
from buildfarm.model import Depfile, FortranOptions, Kind, Language, ToolCall, Unit

__all__ = [
    "classify",
    "expand_response",
    "needs_native_expansion",
    "response_files",
    "with_native_expansion",
]

_NO_ENVIRONMENT: Final[Mapping[str, str]] = MappingProxyType({})

# Variables that make a compile write or read what a node can't: GCC manual, "Environment Variables".
_LOCAL_VARIABLES: Final = {
    "DEPENDENCIES_OUTPUT": "writes a depfile of its own",
    "SUNPRO_DEPENDENCIES": "writes a depfile of its own",
    "GCC_COMPARE_DEBUG": "compiles twice",
    "COMPILER_PATH": "names a compiler of this machine",
    "GCC_EXEC_PREFIX": "names a compiler of this machine",
}

_COMPILER = re.compile(
    r"(?:[\w.]+-)*?(?P<name>gcc|g\+\+|c\+\+|cc|gfortran|clang|clang\+\+|c89|c99|f77|f90|f95)(?:-\d[\d.]*)?"
)
_MPI = re.compile(r"mpi(?P<name>cc|cxx|c\+\+|CC|f77|f90|fort)(?:[.-]\w+)?")
_BINUTILS = re.compile(r"(?:[\w.]+-)*?(?:gcc-)?(?P<name>ar|ranlib|ld)(?:[.-](?:bfd|gold|lld|mold|\d[\d.]*))?")

_CXX_NAMES: Final = frozenset(("g++", "c++", "clang++", "cxx", "CC"))
_SUFFIXES: Final[dict[str, Language]] = {
    **dict.fromkeys((".c",), Language.C),
    **dict.fromkeys((".cc", ".cp", ".cxx", ".cpp", ".CPP", ".c++", ".C"), Language.CXX),
    **dict.fromkeys(
        (
            ".f",
            ".for",
            ".ftn",
            ".F",
            ".FOR",
            ".FTN",
            ".fpp",
            ".FPP",
            ".f90",
            ".f95",
            ".f03",
            ".f08",
            ".F90",
            ".F95",
            ".F03",
            ".F08",
        ),
        Language.FORTRAN,
    ),
    **dict.fromkeys(
        (
            ".i",
            ".ii",
            ".s",
            ".S",
            ".sx",
            ".m",
            ".mi",
            ".mm",
            ".M",
            ".mii",
            ".d",
            ".di",
            ".dd",
            ".go",
            ".adb",
            ".ads",
            ".h",
            ".H",
            ".hh",
            ".hp",
            ".hxx",
            ".hpp",
            ".HPP",
            ".h++",
            ".tcc",
        ),
        Language.OTHER,
    ),
}
_CPP_SUFFIXES: Final = frozenset((".F", ".FOR", ".FTN", ".fpp", ".FPP", ".F90", ".F95", ".F03", ".F08"))
_FIXED_SUFFIXES: Final = frozenset((".f", ".for", ".ftn", ".F", ".FOR", ".FTN", ".fpp", ".FPP"))
_HEADERS: Final = frozenset((".h", ".H", ".hh", ".hp", ".hxx", ".hpp", ".HPP", ".h++", ".tcc"))
_OTHER_REASONS: Final = {
    **dict.fromkeys((".s", ".S", ".sx"), "assembler source: assembled here"),
    **dict.fromkeys((".i", ".ii", ".mi", ".mii"), "preprocessed source: compiled here"),
    **dict.fromkeys(_HEADERS, "makes a precompiled header for this machine's compiler"),
}
_LANGUAGES: Final = {"c": Language.C, "c++": Language.CXX}


@dataclass(frozen=True, slots=True)
class _Tool:
    """A tool as its name tells it."""

    family: str  # compiler, clang, archiver, ranlib, linker, other
    cxx: bool = False  # takes `.c` for C++


@lru_cache(maxsize=256)
def _tool_of(name: str) -> _Tool:
    if match := _COMPILER.fullmatch(name):
        plain = match["name"]
        return _Tool("clang" if plain.startswith("clang") else "compiler", plain in _CXX_NAMES)
    if match := _MPI.fullmatch(name):
        return _Tool("compiler", match["name"] in ("cxx", "c++", "CC"))
    if match := _BINUTILS.fullmatch(name):
        return _Tool({"ar": "archiver", "ranlib": "ranlib", "ld": "linker"}[match["name"]])
    return _Tool("other")


def classify(argv: Sequence[str], *, environment: Mapping[str, str] = _NO_ENVIRONMENT) -> ToolCall:
    """What the call `argv`, its @files already expanded, does.  Never raises."""
    if not argv:
        return ToolCall(Kind.OTHER, "", (), reason="an empty command")
    name = os.path.basename(argv[0])
    tool = _tool_of(name)
    if tool.family == "compiler" or tool.family == "clang":
        return _Command(name, tool, argv).call(environment)
    if tool.family == "archiver":
        return _archiver(name, argv)
    if tool.family == "ranlib":
        return _ranlib(name, argv)
    if tool.family == "linker":
        return _linker(name, argv)
    return ToolCall(Kind.OTHER, name, (), reason=f"{name}: not a compiler, linker or archiver")


def needs_native_expansion(unit: Unit) -> bool:
    """Whether `-march=native` and its like are all that keeps `unit` here."""
    return unit.local_reason is not None and unit.local_reason in _NATIVE_REASONS


def with_native_expansion(unit: Unit, options: Sequence[str]) -> Unit:
    """`unit` with its `-march=native -mtune=native -mcpu=native` replaced by `options`, free to travel.

    `options` come from the master's compiler (`gcc -march=native -E -v -`, the line of cc1), and take the place of
    the first native option; the others go.
    """
    assert needs_native_expansion(unit), f"BUG: nothing to expand in {unit.argv}"
    return replace(
        unit,
        preprocess_arguments=_replace_native(unit.preprocess_arguments, options),
        compile_arguments=_replace_native(unit.compile_arguments, options),
        local_reason=None,
    )


_NATIVE_OPTIONS: Final = ("-march=native", "-mtune=native", "-mcpu=native")
_NATIVE_REASONS: Final = frozenset(NATIVE_REASON.format(option) for option in _NATIVE_OPTIONS)


def _replace_native(arguments: tuple[str, ...], options: Sequence[str]) -> tuple[str, ...]:
    replaced: list[str] = []
    waiting = tuple(options)
    for arg in arguments:
        if arg in _NATIVE_OPTIONS:
            replaced.extend(waiting)
            waiting = ()
        else:
            replaced.append(arg)
    return tuple(replaced)


class _Command:
    """One compiler command, read in a single pass."""

    __slots__ = (
        "argv",
        "cpp",
        "debug",
        "dependencies",
        "dependency_arguments",
        "depfile_named",
        "flags",
        "free_form",
        "full_preprocessing",
        "include_directories",
        "inputs",
        "libraries",
        "link_outputs",
        "local_reason",
        "mode",
        "module_directory",
        "name",
        "native",
        "output",
        "query",
        "target_named",
        "tool",
        "wrapped_depfile",
    )  # fmt: skip

    def __init__(self, name: str, tool: _Tool, argv: Sequence[str]) -> None:
        self.name = name
        self.tool = tool
        self.argv = argv
        self.mode = ""  # "", c, S, E, M, syntax
        self.output: str | None = None
        self.inputs: list[tuple[str, str]] = []  # (name, -x language or "")
        self.libraries = False
        self.flags: list[tuple[int, str]] = []
        self.local_reason: str | None = None
        self.native: str | None = None
        self.debug = False
        self.full_preprocessing = False
        self.query = False
        self.dependencies = False  # -MD or -MMD
        self.dependency_arguments: list[str] = []
        self.depfile_named: str | None = None  # -MF
        self.wrapped_depfile: str | None = None  # -Wp,-MD,FILE
        self.target_named = False
        self.include_directories: list[str] = []
        self.module_directory: str | None = None
        self.cpp: bool | None = None
        self.free_form: bool | None = None
        self.link_outputs: list[str] = []
        self._read()

    def _read(self) -> None:
        language = ""
        flags = self.flags
        arguments = iter(self.argv)
        next(arguments)
        for arg in arguments:
            if arg[:1] != "-" or arg == "-":
                self.inputs.append((arg, language))
                continue
            option = look_up(arg)
            if option.local_reason is not None and self.local_reason is None:
                self.local_reason = option.local_reason
            value = option.value
            if value is None:
                value = next(arguments, "")
                if not value and self.local_reason is None:
                    self.local_reason = f"{arg}: without an operand"
                arg = option.name + value
            if option.to:
                flags.append((option.to, arg))
            role = option.role
            if role:
                if role is Role.LANGUAGE:
                    language = "" if value == "none" else value
                else:
                    self._act(option, role, arg, value)

    def _act(self, option: Option, role: Role, arg: str, value: str) -> None:
        """Notes what an option other than a plain one asks for."""
        if role is Role.INCLUDE:
            self.include_directories.append(value)
        elif role is Role.COMPILE_ONLY:
            self.mode = self.mode or "c"
        elif role is Role.OUTPUT:
            self.output = value
        elif role is Role.DEBUG:
            self.debug = True
        elif role is Role.NO_DEBUG:
            self.debug = False
        elif Role.DEPENDENCIES <= role <= Role.DEPENDENCY_FLAG:
            self.dependency_arguments.append(arg)
            if role is Role.DEPENDENCIES:
                self.dependencies = True
            elif role is Role.DEPENDENCY_FILE:
                self.depfile_named = value
            elif role is Role.DEPENDENCY_TARGET:
                self.target_named = True
            elif arg == "-MG":
                self._stay("-MG: not valid where an object is made")
        elif role is Role.FULL_PREPROCESSING:
            self.full_preprocessing = True
        elif role is Role.FOR_PREPROCESSOR:
            self._for_preprocessor(arg)
        elif role is Role.FOR_LINKER:
            self._for_linker(value or arg)
        elif role is Role.LIBRARY:
            self.libraries = True
        elif role is Role.ASSEMBLER_ONLY:
            self.mode = "S" if self.mode in ("", "c") else self.mode
        elif role is Role.SYNTAX_ONLY:
            self.mode = "syntax" if self.mode in ("", "c", "S") else self.mode
        elif role is Role.PREPROCESS_ONLY:
            self.mode = "E" if self.mode != "M" else self.mode
        elif role is Role.LIST_DEPENDENCIES:
            self.mode = "M"
            self.dependency_arguments.append(arg)
        elif role is Role.MODULE_DIRECTORY:
            self.module_directory = value
        elif role is Role.CPP or role is Role.NO_CPP:
            self.cpp = role is Role.CPP
        elif role is Role.FREE_FORM or role is Role.FIXED_FORM:
            self.free_form = role is Role.FREE_FORM
        elif role is Role.QUERY:
            self.query = True
        elif role is Role.NATIVE and self.native is None:
            self.native = NATIVE_REASON.format(arg)

    def _stay(self, reason: str) -> None:
        if self.local_reason is None:
            self.local_reason = reason

    def _for_preprocessor(self, arg: str) -> None:
        """`-Wp,`: a depfile (Kbuild's `-Wp,-MMD,FILE`) or macros (`-Wp,-D_FORTIFY_SOURCE=2`)."""
        words = arg.split(",")[1:]
        if words[0] in ("-MD", "-MMD") and len(words) >= 2 and self.wrapped_depfile is None:
            self.wrapped_depfile = words[1]
            self.dependency_arguments.append(arg)
            if any(word not in ("-MP",) for word in words[2:]):
                self._stay(f"{arg}: more than a depfile")
        elif all(word.startswith(("-D", "-U")) and len(word) > 2 for word in words):
            self.flags.append((PREPROCESS, arg))
        else:
            self._stay(f"{arg}: not known to be safe on a node")

    def _for_linker(self, value: str) -> None:
        """Files that the linker writes besides the program: `-Wl,-Map=FILE`, `-Wl,-Map,FILE`."""
        words = value.removeprefix("-Wl,").split(",")
        for position, word in enumerate(words):
            if word.startswith(("-Map=", "--Map=")):
                self.link_outputs.append(word.partition("=")[2])
            elif word in ("-Map", "--Map") and position + 1 < len(words):
                self.link_outputs.append(words[position + 1])

    # --- what it comes to ------------------------------------------------------------------------------

    def call(self, environment: Mapping[str, str]) -> ToolCall:
        if self.query or (not self.inputs and not self.libraries):
            return ToolCall(Kind.QUERY, self.name, ())
        if self.mode not in ("c", "S"):
            return self._without_object()
        sources = [(name, language) for name, language in self.inputs if self._is_source(name, language)]
        if not sources:
            return self._other("no source to compile", ())
        if len(sources) > 1:
            names = tuple(self._derived_output(name) for name, _ in sources)
            if self.output is not None and not _is_device(self.output):
                names = (self.output,)
            return self._other("several sources in one command", names)
        source, language = sources[0]
        output = self.output if self.output is not None else self._derived_output(source, language)
        depfile = self._depfile(source, output)
        outputs = tuple(
            path for path in (output, depfile.path if depfile else "") if path and not _is_device(path)
        )
        if source == "-":
            return self._other("the source comes from standard input", outputs)
        if os.path.basename(source).startswith("conftest.") or os.path.basename(output) == "conftest.o":
            return self._other("a test of configure's", outputs)
        unit = self._unit(source, language, output, depfile, environment)
        return ToolCall(Kind.COMPILE, self.name, outputs, unit)

    def _other(self, reason: str, outputs: tuple[str, ...]) -> ToolCall:
        return ToolCall(Kind.OTHER, self.name, outputs, reason=reason)

    def _is_source(self, name: str, language: str) -> bool:
        return bool(language) or name == "-" or os.path.splitext(name)[1] in _SUFFIXES

    def _derived_output(self, source: str, language: str = "") -> str:
        stem, suffix = os.path.splitext(os.path.basename(source))
        if suffix in _HEADERS or language.endswith("-header"):
            return source + ".gch"
        return stem + (".s" if self.mode == "S" else ".o")

    def _without_object(self) -> ToolCall:
        """A link, or a command that stops before it makes an object."""
        depfile = self.depfile_named or self.wrapped_depfile
        if self.dependencies and depfile is None:
            depfile = _with_suffix(self.output if self.output else self._derived_output(self.inputs[0][0]))
        if self.mode:
            candidates = (self.output if self.mode != "syntax" else None, depfile)
        else:
            headers = [name for name, _ in self.inputs if os.path.splitext(name)[1] in _HEADERS]
            default = f"{headers[0]}.gch" if headers else "a.out"
            candidates = (self.output if self.output is not None else default, depfile)
        outputs = tuple(path for path in (*candidates, *self.link_outputs) if path and not _is_device(path))
        if not self.mode:
            if any(os.path.basename(name).startswith("conftest") for name, _ in self.inputs):
                return self._other("a test of configure's", outputs)
            return ToolCall(Kind.LINK, self.name, outputs)
        if self.mode == "syntax" and self._language(*self.inputs[0]) is Language.FORTRAN:
            return self._other("-fsyntax-only: makes no object, but may write modules", outputs)
        if not outputs:
            return ToolCall(Kind.QUERY, self.name, ())
        word = {"E": "-E", "M": "-M", "syntax": "-fsyntax-only"}[self.mode]
        return self._other(f"{word}: makes no object", outputs)

    def _language(self, source: str, language: str) -> Language:
        if language:
            return _LANGUAGES.get(language, Language.OTHER)
        suffix = os.path.splitext(source)[1]
        if self.tool.cxx and suffix == ".c":
            return Language.CXX
        return _SUFFIXES.get(suffix, Language.OTHER)

    def _depfile(self, source: str, output: str) -> Depfile | None:
        """The depfile with the options by which `-E` writes the bytes that the compile would write.

        Source: `cpp_unique_options` of `gcc -dumpspecs`: without -MF the name is that of -o (else of the source)
        with its suffix replaced; without -MT and -MQ the target is -o's operand as typed.
        """
        if not self.dependencies and self.wrapped_depfile is None:
            if self.dependency_arguments:
                self._stay(f"{self.dependency_arguments[0]}: without -MD or -MMD")
            return None
        arguments = list(self.dependency_arguments)
        if self.dependencies:
            if self.wrapped_depfile is not None:
                self._stay("-Wp,-MD together with -MD")
            path = self.depfile_named
            if path is None:
                path = _with_suffix(output)
                arguments.append(f"-MF{path}")
            if not self.target_named and self.output is not None:
                arguments.append(f"-MQ{output}")
        else:
            assert self.wrapped_depfile is not None, "BUG: no depfile"
            path = self.depfile_named or self.wrapped_depfile
        if path == "-" or _is_device(path):
            self._stay(f"{path}: a depfile that is no regular file")
        return Depfile(path, tuple(arguments))

    def _unit(
        self, source: str, language: str, output: str, depfile: Depfile | None, environment: Mapping[str, str]
    ) -> Unit:
        what = self._language(source, language)
        fortran = self._fortran(source) if what is Language.FORTRAN else None
        code = COMPILE if fortran is None else FORTRAN
        flags = self.flags
        return Unit(
            tool=self.name,
            language=what,
            argv=tuple(self.argv),
            source=source,
            output=output,
            preprocess_arguments=tuple([arg for to, arg in flags if to & PREPROCESS]),
            compile_arguments=tuple([arg for to, arg in flags if to & code]),
            depfile=depfile,
            assembler_only=self.mode == "S",
            debug=self.debug,
            full_preprocessing=self.full_preprocessing,
            fortran=fortran,
            local_reason=self._local_reason(source, language, what, output, environment),
        )

    def _fortran(self, source: str) -> FortranOptions:
        suffix = os.path.splitext(source)[1]
        return FortranOptions(
            cpp=self.cpp if self.cpp is not None else suffix in _CPP_SUFFIXES,
            free_form=self.free_form if self.free_form is not None else suffix not in _FIXED_SUFFIXES,
            module_directory=self.module_directory,
            include_directories=tuple(self.include_directories),
        )

    def _local_reason(
        self, source: str, language: str, what: Language, output: str, environment: Mapping[str, str]
    ) -> str | None:
        """Why the unit may not travel; -march=native comes last, for it can be cured."""
        if self.local_reason is not None:
            return self.local_reason
        if self.tool.family == "clang":
            return f"{self.name}: only gcc's objects are proven to come back the same"
        if what is Language.OTHER:
            if language:
                return f"-x {language}: compiled here"
            suffix = os.path.splitext(source)[1]
            return _OTHER_REASONS.get(suffix, f"{suffix}: neither C, C++ nor Fortran")
        if len(self.inputs) > 1:
            return "objects or libraries beside the source: the compiler warns of them"
        if _is_device(output) or output == "-":
            return f"-o {output}: not a regular file"
        if not output:
            return "-o: without an operand"
        for variable, why in _LOCAL_VARIABLES.items():
            if environment.get(variable):
                return f"${variable}: {why}"
        if self.mode == "S" and self.debug:
            return "-S with -g: debug information would name another producer"
        return self.native


def _is_device(path: str) -> bool:
    return path.startswith("/dev/")


def _with_suffix(path: str) -> str:
    """`path` with the suffix of its last component replaced by `.d`, as the driver's `%.d` does."""
    directory, slash, base = path.rpartition("/")
    stem, dot, _ = base.rpartition(".")
    return f"{directory}{slash}{stem if dot else base}.d"


# --- binutils ---------------------------------------------------------------------------------------------


def _archiver(name: str, argv: Sequence[str]) -> ToolCall:
    """`ar`: binutils manual, "ar"; the operation may stand with or without its dash."""
    words: list[str] = []
    arguments = iter(argv[1:])
    operation = ""
    for arg in arguments:
        if arg in ("--plugin", "--target", "--output", "--record-libdeps"):
            next(arguments, None)
        elif arg in ("--version", "--help", "-V", "-h", "-H"):
            return ToolCall(Kind.QUERY, name, ())
        elif arg == "-M":
            return ToolCall(Kind.OTHER, name, (), reason="ar -M: a script on standard input")
        elif arg.startswith("--") or arg.startswith("-X"):
            continue
        elif arg.startswith("-") and len(arg) > 1:
            operation += arg[1:]
        elif not operation and not words:
            operation = arg
        else:
            words.append(arg)
    skip = any(letter in operation for letter in "abi") + ("N" in operation)
    archive = words[skip : skip + 1]
    if any(letter in operation for letter in "tp"):
        return ToolCall(Kind.QUERY, name, ())
    if "x" in operation:
        return ToolCall(Kind.OTHER, name, (), reason="ar x: writes the archive's members")
    if not archive or not any(letter in operation for letter in "dmqrs"):
        return ToolCall(Kind.OTHER, name, (), reason="an ar command that names no archive")
    return ToolCall(Kind.ARCHIVE, name, tuple(archive))


def _ranlib(name: str, argv: Sequence[str]) -> ToolCall:
    archives: list[str] = []
    arguments = iter(argv[1:])
    for arg in arguments:
        if arg == "--plugin":
            next(arguments, None)
        elif arg.startswith("-"):
            if arg in ("--version", "--help") or (not arg.startswith("--") and set(arg) & set("vVhH")):
                return ToolCall(Kind.QUERY, name, ())
        else:
            archives.append(arg)
    if not archives:
        return ToolCall(Kind.QUERY, name, ())
    return ToolCall(Kind.ARCHIVE, name, tuple(archives))


def _linker(name: str, argv: Sequence[str]) -> ToolCall:
    output = "a.out"
    link_outputs: list[str] = []
    inputs = False
    arguments = iter(argv[1:])
    for arg in arguments:
        if arg in ("-o", "--output"):
            output = next(arguments, output)
        elif arg.startswith("--output="):
            output = arg.partition("=")[2]
        elif arg in ("-Map", "--Map"):
            link_outputs.append(next(arguments, ""))
        elif arg.startswith(("-Map=", "--Map=")):
            link_outputs.append(arg.partition("=")[2])
        elif arg == "--help":
            return ToolCall(Kind.QUERY, name, ())
        elif arg.startswith("-o") and not arg.startswith("-omagic"):
            output = arg[2:]
        elif not arg.startswith("-") or arg.startswith("-l"):
            inputs = True
    if not inputs:
        return ToolCall(Kind.QUERY, name, ())
    outputs = tuple(path for path in (output, *link_outputs) if path and not _is_device(path))
    return ToolCall(Kind.LINK, name, outputs)
