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
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from buildfarm.graph.assembler import lists_no_debug
from buildfarm.graph.binutils import archiver, linker, ranlib
from buildfarm.graph.command import Command
from buildfarm.graph.names import (
    CPP_SUFFIXES,
    FIXED_SUFFIXES,
    HEADERS,
    LANGUAGES,
    OTHER_REASONS,
    SUFFIXES,
    is_conftest,
    is_device,
    tool_of,
)
from buildfarm.graph.options import COMPILE, FORTRAN, NATIVE, NATIVE_REASON, PREPROCESS
from buildfarm.graph.response import expand_response, response_files
from buildfarm.model import TRIAL, Depfile, FortranOptions, Kind, Language, ToolCall, Unit

__all__ = [
    "LOCAL_VARIABLES",
    "classify",
    "expand_response",
    "needs_native_expansion",
    "response_files",
    "stays",
    "with_native_expansion",
]

_NO_ENVIRONMENT: Final[Mapping[str, str]] = MappingProxyType({})

# Variables that make a compile write or read what a node can't: GCC manual, "Environment Variables".
LOCAL_VARIABLES: Final = {
    "DEPENDENCIES_OUTPUT": "writes a depfile of its own",
    "SUNPRO_DEPENDENCIES": "writes a depfile of its own",
    "GCC_COMPARE_DEBUG": "compiles twice",
    "COMPILER_PATH": "names a compiler of this machine",
    "GCC_EXEC_PREFIX": "names a compiler of this machine",
}


def classify(argv: Sequence[str], *, environment: Mapping[str, str] = _NO_ENVIRONMENT) -> ToolCall:
    """What the call `argv`, its @files already expanded, does.  Never raises."""
    if not argv:
        return ToolCall(Kind.OTHER, "", (), reason="an empty command")
    name = os.path.basename(argv[0])
    tool = tool_of(name)
    if tool.family == "compiler" or tool.family == "clang":
        return _call(Command(name, tool, argv), environment)
    if tool.family == "archiver":
        return archiver(name, argv)
    if tool.family == "ranlib":
        return ranlib(name, argv)
    if tool.family == "linker":
        return linker(name, argv)
    return ToolCall(Kind.OTHER, name, (), reason=f"{name}: not a compiler, linker or archiver")


def parted(argv: Sequence[str], unit: Unit) -> tuple[str, ...]:
    """The call for `unit` alone, which is one of those that the call `argv` makes (`ToolCall.units`)."""
    return (argv[0], *unit.argv[1:])


def needs_native_expansion(unit: Unit) -> bool:
    """Whether `-march=native` and its like are all that keeps `unit` here."""
    return unit.local_reason is not None and unit.local_reason in _NATIVE_REASONS


def stays(unit: Unit) -> bool:
    """Whether no node may compile `unit`, whatever this machine's processor is found to be."""
    return unit.local_reason is not None and not needs_native_expansion(unit)


def with_native_expansion(unit: Unit, options: Sequence[str]) -> Unit:
    """`unit` with its `-march=native -mtune=native -mcpu=native` replaced by `options`, free to travel.

    `options` come from the master's compiler (`gcc -march=native -E -v -`, the line of cc1), and take the place of
    the first native option; the others go.
    """
    assert needs_native_expansion(unit), f"BUG: nothing to expand in {unit.argv}"
    return unit._replace(
        preprocess_arguments=_replace_native(unit.preprocess_arguments, options),
        compile_arguments=_replace_native(unit.compile_arguments, options),
        local_reason=None,
    )


_NATIVE_REASONS: Final = frozenset(NATIVE_REASON.format(option) for option in NATIVE)


def _replace_native(arguments: tuple[str, ...], options: Sequence[str]) -> tuple[str, ...]:
    replaced: list[str] = []
    waiting = tuple(options)
    for arg in arguments:
        if arg in NATIVE:
            replaced.extend(waiting)
            waiting = ()
        else:
            replaced.append(arg)
    return tuple(replaced)


def _call(command: Command, environment: Mapping[str, str]) -> ToolCall:
    if command.query or (not command.inputs and not command.libraries):
        return ToolCall(Kind.QUERY, command.name, ())
    if command.mode not in ("c", "S"):
        return _without_object(command)
    sources = [(name, language) for name, language in command.inputs if _is_source(name, language)]
    if not sources:
        return _other(command, "no source to compile", ())
    if len(sources) > 1:
        names = tuple(_derived_output(command, name) for name, _ in sources)
        if command.output and not is_device(command.output):
            names = (command.output,)
        units = _single(command, [name for name, _ in sources], environment) if command.mode == "c" else ()
        outputs = (*names, *(path for path in _side_depfiles(command) if not is_device(path)))
        return _other(command, "several sources in one command", outputs)._replace(units=units)
    source, language = sources[0]
    output = command.output if command.output is not None else _derived_output(command, source, language)
    depfile = _depfile(command, source, output)
    stack_usage = _with_suffix(output, ".su") if command.stack_usage and output else None
    also = (depfile.path if depfile else "", stack_usage or "", command.listing or "")
    outputs = tuple(path for path in (output, *also) if path and not is_device(path))
    if source == "-":
        return _other(command, "the source comes from standard input", outputs)
    if source == os.devnull or is_conftest(source) or is_conftest(output):
        return _other(command, TRIAL, outputs)
    if is_device(source):
        return _other(command, f"{source}: not a regular file", outputs)
    unit = _unit(command, source, language, output, depfile, environment, stack_usage)
    return ToolCall(Kind.COMPILE, command.name, outputs, unit)


def _single(command: Command, sources: Sequence[str], environment: Mapping[str, str]) -> tuple[Unit, ...]:
    """The units that the command is as good as: one for each source, by the same words without the others.

    gcc compiles one after the other, and goes on after one that fails.  None where a name stands twice, as an operand
    too, or two write the same file.
    """
    if any(command.argv.count(name) != 1 for name in sources):
        return ()
    units = []
    outputs: list[str] = []
    for source in sources:
        call = classify([w for w in command.argv if w == source or w not in sources], environment=environment)
        if call.unit is None or stays(call.unit):
            return ()
        units.append(call.unit)
        outputs += call.outputs
    return tuple(units) if len(set(outputs)) == len(outputs) else ()


def _other(command: Command, reason: str, outputs: tuple[str, ...]) -> ToolCall:
    return ToolCall(Kind.OTHER, command.name, outputs, reason=reason)


def _is_source(name: str, language: str) -> bool:
    return bool(language) or name == "-" or os.path.splitext(name)[1] in SUFFIXES


def _derived_output(command: Command, source: str, language: str = "") -> str:
    stem, suffix = os.path.splitext(os.path.basename(source))
    if suffix in HEADERS or language.endswith("-header"):
        return source + ".gch"
    return stem + (".s" if command.mode == "S" else ".o")


def _without_object(command: Command) -> ToolCall:
    """A link, or a command that stops before it makes an object."""
    header = _header(command) if not command.mode else None
    output = command.output if command.mode != "syntax" else None
    if output is None and not command.mode:
        output = f"{header}.gch" if header else "a.out"
    candidates = (output, *_side_depfiles(command), *command.link_outputs)
    outputs = tuple(path for path in candidates if path and not is_device(path))
    if header:
        return _other(command, OTHER_REASONS[".h"], outputs)
    if not command.mode:
        if any(is_conftest(name) for name, _ in command.inputs):
            return _other(command, TRIAL, outputs)
        return ToolCall(Kind.LINK, command.name, outputs)
    if command.mode == "syntax" and command.inputs and _language(command, *command.inputs[0]) is Language.FORTRAN:
        return _other(command, "-fsyntax-only: makes no object, but may write modules", outputs)
    if not outputs:
        return ToolCall(Kind.QUERY, command.name, ())
    word = {"E": "-E", "M": "-M", "syntax": "-fsyntax-only"}[command.mode]
    return _other(command, f"{word}: makes no object", outputs)


def _header(command: Command) -> str | None:
    """The header that a command without -c makes a precompiled one of."""
    for name, language in command.inputs:
        if language.endswith("-header") or (not language and os.path.splitext(name)[1] in HEADERS):
            return name
    return None


def _side_depfiles(command: Command) -> tuple[str, ...]:
    """What -MD leaves behind where no single object is made.

    GCC manual, "-dumpdir": a link without -o prefixes side files with `a-`.
    """
    named = command.wrapped_depfile or command.depfile_named
    if named is not None:
        return (named,)
    if not command.dependencies:
        return ()
    if command.output:
        return (_with_suffix(command.output),)
    sources = [os.path.basename(name) for name, language in command.inputs if _is_source(name, language)]
    prefix = "" if command.mode or (len(sources) == 1 and sources[0].startswith("a.")) else "a-"
    return tuple(prefix + _with_suffix(name) for name in sources if name != "-")


def _language(command: Command, source: str, language: str) -> Language:
    if language:
        return LANGUAGES.get(language, Language.OTHER)
    suffix = os.path.splitext(source)[1]
    if command.tool.cxx and suffix == ".c":
        return Language.CXX
    return SUFFIXES.get(suffix, Language.OTHER)


def _depfile(command: Command, source: str, output: str) -> Depfile | None:
    """The depfile with the options by which `-E` writes the bytes that the compile would write.

    Source: `cpp_unique_options` of `gcc -dumpspecs`: without -MF the name is that of -o (else of the source)
    with its suffix replaced; without -MT and -MQ the target is -o's operand as typed.  For Fortran `-fsyntax-only`
    stands in the place of `-E`, with the same -J as typed, for it lists the modules, with their directory.
    A precompiled header in use hides what it was made of: only `-E -fpch-preprocess` writes the same bytes then.
    """
    if not command.dependencies and command.wrapped_depfile is None:
        if command.dependency_arguments:
            command.stay(f"{command.dependency_arguments[0]}: without -MD or -MMD")
        return None
    arguments = list(command.dependency_arguments)
    if command.dependencies:
        if command.wrapped_depfile is not None:
            command.stay("-Wp,-MD together with -MD")
        path = command.depfile_named
        if path is None:
            path = _with_suffix(output)
            arguments.append(f"-MF{path}")
        if not command.target_named and command.output is not None:
            arguments.append(f"-MQ{output}")
    else:
        assert command.wrapped_depfile is not None, "BUG: no depfile"
        path = command.wrapped_depfile
    if path == "-" or is_device(path):
        command.stay(f"{path}: a depfile that is no regular file")
    return Depfile(path, tuple(arguments))


def _unit(
    command: Command,
    source: str,
    language: str,
    output: str,
    depfile: Depfile | None,
    environment: Mapping[str, str],
    stack_usage: str | None,
) -> Unit:
    what = _language(command, source, language)
    fortran = _fortran(command, source, language) if what is Language.FORTRAN else None
    code = COMPILE if fortran is None else FORTRAN
    flags = command.flags
    return Unit(
        tool=command.name,
        language=what,
        argv=tuple(command.argv),
        source=source,
        output=output,
        preprocess_arguments=tuple([arg for to, arg in flags if to & PREPROCESS]),
        compile_arguments=tuple([arg for to, arg in flags if to & code]),
        depfile=depfile,
        assembler_only=command.mode == "S",
        debug=command.debug,
        full_preprocessing=command.full_preprocessing,
        fortran=fortran,
        local_reason=_local_reason(command, source, language, fortran, what, output, environment),
        stack_usage=stack_usage,
        listing=command.listing,
    )


def _fortran(command: Command, source: str, language: str) -> FortranOptions:
    """Form and cpp: by option, else by -x (f77 means fixed form), else by suffix."""
    suffix = os.path.splitext(source)[1]
    cpp = language.endswith("-cpp-input") if language else suffix in CPP_SUFFIXES
    free_form = suffix not in FIXED_SUFFIXES
    if language.startswith("f77") and free_form and command.free_form is None:
        command.stay(f"-x {language}: a node would go by the name of the source")
        free_form = False
    return FortranOptions(
        cpp=command.cpp if command.cpp is not None else cpp,
        free_form=command.free_form if command.free_form is not None else free_form,
        module_directory=command.module_directory,
        include_directories=tuple(command.include_directories),
    )


def _local_reason(
    command: Command,
    source: str,
    language: str,
    fortran: FortranOptions | None,
    what: Language,
    output: str,
    environment: Mapping[str, str],
) -> str | None:
    """Why the unit may not travel; -march=native comes last, for it can be cured."""
    if command.local_reason is not None:
        return command.local_reason
    suffix = os.path.splitext(source)[1]
    if what is Language.OTHER:
        if language:
            return f"-x {language}: compiled here"
        return OTHER_REASONS.get(suffix, f"{suffix}: neither C, C++ nor Fortran")
    if what is Language.C and command.tool.cxx:
        return f"-x {language}: on a node a C++ compiler would go by its name"
    if what is Language.FORTRAN:
        if language and suffix not in SUFFIXES:
            return f"-x {language}: a node would go by the name of the source"
        if command.mode == "S":
            return "-S: only objects are proven to come back the same from Fortran"
        if command.dependency_arguments and fortran is not None and not fortran.cpp:
            return f"{command.dependency_arguments[0]}: gfortran refuses it without -cpp"
    if command.link_time is not None:
        if command.tool.family == "clang":
            return f"{command.link_time}: clang's is no machine code, by which an object could be judged"
        if what is Language.FORTRAN or command.mode == "S":
            return f"{command.link_time}: travels where C or C++ becomes an object"
        if command.seed is not None:
            return f"{command.link_time} with {command.seed}: the same bytes come from this machine only"
    if command.stack_usage and not _comes_with_a_file(command, what):
        return "-fstack-usage: writes files beside the object"
    if command.listing and (command.stack_usage or "-pipe" in command.argv or not _comes_with_a_file(command, what)):
        return f"-Wa,-a...={command.listing}: writes files beside the object"
    if command.listing and command.debug and not lists_no_debug(command.argv):
        return f"-Wa,-a...={command.listing}: lists the strings of debug information, which stand in another order"
    if len(command.inputs) > 1:
        return "objects or libraries beside the source: the compiler warns of them"
    if is_device(output) or output == "-":
        return f"-o {output}: not a regular file"
    if not output:
        return "-o: without an operand"
    for variable, why in LOCAL_VARIABLES.items():
        if environment.get(variable):
            return f"${variable}: {why}"
    if command.mode == "S" and command.debug:
        return "-S with -g: debug information would name another producer"
    return command.native


def _comes_with_a_file(command: Command, what: Language) -> bool:
    """Whether the file of -fstack-usage, or a listing, can be had with a node's answer: gcc's, of an object."""
    return (
        command.mode == "c"
        and command.tool.family == "compiler"
        and what is not Language.FORTRAN
        and command.link_time is None
    )


def _with_suffix(path: str, suffix: str = ".d") -> str:
    """`path` with the suffix of its last component replaced, as the driver's `%.d` does."""
    directory, slash, base = path.rpartition("/")
    stem, dot, _ = base.rpartition(".")
    return f"{directory}{slash}{stem if dot else base}{suffix}"
