"""The options of gcc, g++, gfortran and the MPI wrappers: their operands, and where each may go.

It knows one argument at a time; what a whole command means is `classify`'s business.  It reads no file and asks
no compiler.

Facts come from `gcc --help=separate`, `gcc -dumpspecs` and the GCC 12 manual ("Invoking GCC", "gfortran"), and
which option may travel from trials on stock distccd 3.4.  An option of the open families `-f -m -O -W -std` is
taken to travel unless it is named here; any other unknown option keeps its command on this machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Final

PREPROCESS: Final = 1  # matters to `-E`
COMPILE: Final = 2  # matters to the compilation of preprocessed C and C++
FORTRAN: Final = 4  # matters to the compilation of preprocessed Fortran
BOTH: Final = PREPROCESS | COMPILE | FORTRAN
CODE: Final = COMPILE | FORTRAN

NATIVE_REASON: Final = "{}: stands for this machine's processor"


class Role(IntEnum):
    """What `classify` has to do about an option besides passing it on."""

    PLAIN = 0
    INCLUDE = 1  # -I
    DEBUG = 2  # -g...
    COMPILE_ONLY = 3  # -c
    ASSEMBLER_ONLY = 4  # -S
    OUTPUT = 5  # -o
    DEPENDENCIES = 6  # -MD, -MMD
    DEPENDENCY_FILE = 7  # -MF
    DEPENDENCY_TARGET = 8  # -MT, -MQ
    DEPENDENCY_FLAG = 9  # -MP, -MG
    PREPROCESS_ONLY = 10  # -E
    LIST_DEPENDENCIES = 11  # -M, -MM
    SYNTAX_ONLY = 12  # -fsyntax-only
    LANGUAGE = 13  # -x
    FOR_PREPROCESSOR = 14  # -Wp,
    FOR_LINKER = 15  # -Wl,
    MODULE_DIRECTORY = 16  # -J
    CPP = 17  # -cpp
    NO_CPP = 18  # -nocpp
    FREE_FORM = 19
    FIXED_FORM = 20
    QUERY = 21  # --version, -print-..., -###: nothing is compiled
    NATIVE = 22  # -march=native: local until it is expanded
    NO_DEBUG = 23  # -g0
    FULL_PREPROCESSING = 24  # recipe P2 instead of P2d
    LIBRARY = 25  # -lNAME: an input of a link


@dataclass(frozen=True, slots=True)
class Option:
    """One argument that starts with `-`, looked up.

    `name` is the option to which `value` is joined; `value` is None where the operand is the next argument.
    `to` says to which of the two steps of a travelling compile the option goes (0: to none).
    """

    role: Role
    to: int
    name: str
    value: str | None
    local_reason: str | None = None


# Options with an operand, joined or separate: (role, to).  A separate operand is joined by `classify`.
_OPERAND: Final[dict[str, tuple[Role, int]]] = {
    "-o": (Role.OUTPUT, 0),
    "-I": (Role.INCLUDE, PREPROCESS | FORTRAN),
    "-D": (Role.PLAIN, PREPROCESS),
    "-U": (Role.PLAIN, PREPROCESS),
    "-A": (Role.PLAIN, PREPROCESS),
    "-J": (Role.MODULE_DIRECTORY, PREPROCESS),
    "-L": (Role.PLAIN, 0),
    "-l": (Role.LIBRARY, 0),
    "-x": (Role.LANGUAGE, PREPROCESS),
    "-MF": (Role.DEPENDENCY_FILE, 0),
    "-MT": (Role.DEPENDENCY_TARGET, 0),
    "-MQ": (Role.DEPENDENCY_TARGET, 0),
    "-include": (Role.PLAIN, PREPROCESS),
    "-imacros": (Role.PLAIN, PREPROCESS),
    "-isystem": (Role.PLAIN, PREPROCESS),
    "-iquote": (Role.PLAIN, PREPROCESS),
    "-idirafter": (Role.PLAIN, PREPROCESS),
    "-iprefix": (Role.PLAIN, PREPROCESS),
    "-iwithprefix": (Role.PLAIN, PREPROCESS),
    "-iwithprefixbefore": (Role.PLAIN, PREPROCESS),
    "-isysroot": (Role.PLAIN, PREPROCESS),
    "-imultilib": (Role.PLAIN, PREPROCESS),
    "-imultiarch": (Role.PLAIN, PREPROCESS),
    "-T": (Role.PLAIN, 0),
    "-u": (Role.PLAIN, 0),
    "-z": (Role.PLAIN, 0),
    "-e": (Role.PLAIN, 0),
}

# Options whose operand is always the next argument and that keep a compile here: operand read, never passed on.
_SEPARATE_LOCAL: Final = frozenset(
    word
    for row in (
        "-Xpreprocessor -Xassembler -Xclang -Xarch_host -aux-info -dumpbase -dumpbase-ext -dumpdir -wrapper",
        "-mllvm -fintrinsic-modules-path -arch -target -B -F -Hd -Hf -Xf -gnatO --assert --define-macro --dump",
        "--dumpbase --dumpbase-ext --dumpdir --imacros --include --include-directory --include-directory-after",
        "--include-prefix --include-with-prefix --include-with-prefix-after --include-with-prefix-before",
        "--undefine-macro --prefix --specs --sysroot --language --output --for-assembler --for-linker",
        "--force-link --entry --library-directory",
    )
    for word in row.split()
)

_EXACT: Final[dict[str, tuple[Role, int]]] = {
    "-c": (Role.COMPILE_ONLY, 0),
    "-S": (Role.ASSEMBLER_ONLY, 0),
    "-E": (Role.PREPROCESS_ONLY, 0),
    "-M": (Role.LIST_DEPENDENCIES, 0),
    "-MM": (Role.LIST_DEPENDENCIES, 0),
    "-MD": (Role.DEPENDENCIES, 0),
    "-MMD": (Role.DEPENDENCIES, 0),
    "-MP": (Role.DEPENDENCY_FLAG, 0),
    "-MG": (Role.DEPENDENCY_FLAG, 0),
    "-fsyntax-only": (Role.SYNTAX_ONLY, 0),
    "-cpp": (Role.CPP, PREPROCESS),
    "-nocpp": (Role.NO_CPP, PREPROCESS),
    "-ffree-form": (Role.FREE_FORM, BOTH),
    "-fno-free-form": (Role.FIXED_FORM, BOTH),
    "-ffixed-form": (Role.FIXED_FORM, BOTH),
    "-fno-fixed-form": (Role.FREE_FORM, BOTH),
    "-g0": (Role.NO_DEBUG, BOTH),
    "-ggdb0": (Role.NO_DEBUG, BOTH),
    "-Wunused-macros": (Role.FULL_PREPROCESSING, BOTH),
    "-frecord-gcc-switches": (Role.FULL_PREPROCESSING, BOTH),
    "-fworking-directory": (Role.PLAIN, PREPROCESS),
    "-fno-working-directory": (Role.PLAIN, PREPROCESS),
    "-fpch-deps": (Role.PLAIN, PREPROCESS),
    "-nostdinc": (Role.PLAIN, PREPROCESS),
    "-nostdinc++": (Role.PLAIN, PREPROCESS),
    "-undef": (Role.PLAIN, PREPROCESS),
    "-remap": (Role.PLAIN, PREPROCESS),
    "-I-": (Role.PLAIN, PREPROCESS),
    "-ansi": (Role.PLAIN, BOTH),
    "-w": (Role.PLAIN, BOTH),
    "-trigraphs": (Role.PLAIN, BOTH),
    "-pthread": (Role.PLAIN, BOTH),
    "-pthreads": (Role.PLAIN, BOTH),
    "-pedantic": (Role.PLAIN, BOTH),
    "-pedantic-errors": (Role.PLAIN, BOTH),
    "-p": (Role.PLAIN, BOTH),
    "-pg": (Role.PLAIN, BOTH),
    "-pipe": (Role.PLAIN, CODE),
    "-static": (Role.PLAIN, CODE),
    "-shared": (Role.PLAIN, CODE),
    "-pie": (Role.PLAIN, CODE),
    "-no-pie": (Role.PLAIN, CODE),
    "-static-pie": (Role.PLAIN, CODE),
    "-s": (Role.PLAIN, 0),
    "-r": (Role.PLAIN, 0),
    "-rdynamic": (Role.PLAIN, 0),
    "-nostdlib": (Role.PLAIN, 0),
    "-nostartfiles": (Role.PLAIN, 0),
    "-nodefaultlibs": (Role.PLAIN, 0),
    "-nolibc": (Role.PLAIN, 0),
    "-static-libgcc": (Role.PLAIN, 0),
    "-static-libstdc++": (Role.PLAIN, 0),
    "-static-libgfortran": (Role.PLAIN, 0),
    "-shared-libgcc": (Role.PLAIN, 0),
    "-pass-exit-codes": (Role.PLAIN, 0),
    "-###": (Role.QUERY, 0),
    "--version": (Role.QUERY, 0),
    "--target-help": (Role.QUERY, 0),
    "-dumpversion": (Role.QUERY, 0),
    "-dumpmachine": (Role.QUERY, 0),
    "-dumpspecs": (Role.QUERY, 0),
    "-dumpfullversion": (Role.QUERY, 0),
    "-show": (Role.QUERY, 0),
    "-compile_info": (Role.QUERY, 0),
    "-link_info": (Role.QUERY, 0),
    "-compile-info": (Role.QUERY, 0),
    "-link-info": (Role.QUERY, 0),
}

# Open families: (prefix, role, to), the longest prefix first among those with the same start.
_FAMILIES: Final[tuple[tuple[str, Role, int], ...]] = (
    ("-Wp,", Role.FOR_PREPROCESSOR, 0),
    ("-Wl,", Role.FOR_LINKER, 0),
    ("-Wa,", Role.PLAIN, CODE),
    ("-W", Role.PLAIN, BOTH),
    ("-f", Role.PLAIN, BOTH),
    ("-m", Role.PLAIN, BOTH),
    ("-O", Role.PLAIN, BOTH),
    ("-std=", Role.PLAIN, BOTH),
    ("--std=", Role.PLAIN, BOTH),
    ("--param=", Role.PLAIN, BOTH),
    ("--sysroot=", Role.PLAIN, PREPROCESS),
    ("--help", Role.QUERY, 0),
    ("-print-", Role.QUERY, 0),
    ("--print-", Role.QUERY, 0),
    ("-showme", Role.QUERY, 0),
    ("--showme", Role.QUERY, 0),
)

# -g options that tune debug information and don't ask for it (GCC manual, "Debugging Options").
_DEBUG_TUNING: Final = tuple(
    word
    for row in (
        "-gno- -gas- -gcolumn-info -gstrict-dwarf -grecord-gcc-switches -gstatement-frontiers -gz -gdescribe-dies",
        "-gvariable-location-views -ginternal-reset-location-views -ginline-points -gdwarf32 -gdwarf64",
        "-gpubnames -ggnu-pubnames",
    )
    for word in row.split()
)

_SIDE_FILES = "{}: writes files beside the object"
_PROFILE = "{}: reads or writes profile files on this machine"
_PLUGIN = "{}: names a file of this machine's compiler"
_REPORT = "{}: prints what only this machine's compiler can say"
_LTO = "{}: distccd drops it"
_PREPROCESSOR = "{}: changes what preprocessing leaves"
_UNKNOWN = "{}: not known to be safe on a node"

# Prefixes of options that keep a compile here.
_LOCAL: Final[tuple[tuple[str, str], ...]] = (
    ("-flto", _LTO),
    ("-ffat-lto-objects", _LTO),
    ("-fwpa", _LTO),
    ("-fprofile", _PROFILE),
    ("-fauto-profile", _PROFILE),
    ("-fbranch-probabilities", _PROFILE),
    ("-ftest-coverage", _PROFILE),
    ("-fcondition-coverage", _PROFILE),
    ("-fpath-coverage", _PROFILE),
    ("--coverage", _PROFILE),
    ("-coverage", _PROFILE),
    ("-fplugin", _PLUGIN),
    ("-specs=", _PLUGIN),
    ("--specs=", _PLUGIN),
    ("-fpre-include=", _PLUGIN),
    ("-fintrinsic-modules-path", _PLUGIN),
    ("-fdump-", _SIDE_FILES),
    ("-fstack-usage", _SIDE_FILES),
    ("-fcallgraph-info", _SIDE_FILES),
    ("-save-temps", _SIDE_FILES),
    ("--save-temps", _SIDE_FILES),
    ("-gsplit-dwarf", _SIDE_FILES),
    ("-frepo", _SIDE_FILES),
    ("-fcompare-debug", _SIDE_FILES),
    ("-fada-spec-parent", _SIDE_FILES),
    ("-fopt-info", _REPORT),
    ("-fsave-optimization-record", _SIDE_FILES),
    ("-fdiagnostics-format", _REPORT),
    ("-fc-prototypes", _REPORT),
    ("-ftime-report", _REPORT),
    ("-fmem-report", _REPORT),
    ("-fstats", _REPORT),
    ("-freport-bug", _SIDE_FILES),
    ("-fverbose-asm", "{}: writes its own options into the assembler text"),
    ("-fmodules", "{}: reads and writes compiled modules"),
    ("-fmodule-", "{}: reads and writes compiled modules"),
    ("-foffload", "{}: needs this machine's offload compilers"),
    ("-finput-charset", _PREPROCESSOR),
    ("-fdirectives-only", _PREPROCESSOR),
    ("-fpreprocessed", _PREPROCESSOR),
    ("-fpch-preprocess", _PREPROCESSOR),
    ("-fdeps-", _SIDE_FILES),
    ("-traditional", _PREPROCESSOR),
    ("-Wa,@", _PLUGIN),
)
_LOCAL_EXACT: Final[dict[str, str]] = {
    "-P": _PREPROCESSOR,
    "-C": _PREPROCESSOR,
    "-CC": _PREPROCESSOR,
    "-no-integrated-cpp": _PREPROCESSOR,
    "-v": _REPORT,
    "-H": _REPORT,
    "-Q": _REPORT,
    "-time": _REPORT,
}
_TRAVELS_ALTHOUGH: Final = ("-fmodule-private", "-fno-")
NATIVE: Final = frozenset(("-march=native", "-mtune=native", "-mcpu=native"))


def _assembler_reason(arg: str) -> str | None:
    """Why a `-Wa,` option may not travel: listings, dependency files, files of this machine."""
    for word in arg.split(",")[1:]:
        if word.startswith(("-a", "--MD", "-o", "@")):
            return _SIDE_FILES.format(arg)
        if word.startswith("-I"):
            return _PLUGIN.format(arg)
    return None


def _reason(arg: str) -> str | None:
    if arg.startswith(_TRAVELS_ALTHOUGH):
        return None
    if arg in _LOCAL_EXACT:
        return _LOCAL_EXACT[arg].format(arg)
    for prefix, text in _LOCAL:
        if arg.startswith(prefix):
            return text.format(arg)
    if arg.startswith("-Wa,"):
        return _assembler_reason(arg)
    return None


@lru_cache(maxsize=4096)
def look_up(arg: str) -> Option:
    """What the argument `arg`, which starts with `-` and is not `-` alone, means to a compiler driver."""
    if arg in _EXACT:
        role, to = _EXACT[arg]
        return Option(role, to, arg, "")
    if arg in _OPERAND:
        role, to = _OPERAND[arg]
        return Option(role, to, arg, None)
    if arg in ("-Xlinker", "--param"):
        xlinker = arg == "-Xlinker"
        role = Role.FOR_LINKER if xlinker else Role.PLAIN
        return Option(role, 0 if xlinker else BOTH, "-Wl," if xlinker else "--param=", None)
    if arg in NATIVE:
        return Option(Role.NATIVE, BOTH, arg, "")
    if arg in _SEPARATE_LOCAL:
        role = Role.OUTPUT if arg == "--output" else Role.PLAIN
        return Option(role, 0, arg, None, _UNKNOWN.format(arg))
    reason = _reason(arg)
    if arg.startswith("-g") and not arg.startswith("-gnat"):
        role = Role.PLAIN if arg.startswith(_DEBUG_TUNING) else Role.DEBUG
        return Option(role, BOTH, arg, "", reason)
    if reason is not None:
        return Option(Role.PLAIN, BOTH, arg, "", reason)
    for prefix, role, to in _FAMILIES:
        if arg.startswith(prefix):
            return Option(role, to, arg, "")
    for prefix in sorted(_OPERAND, key=len, reverse=True):
        if arg.startswith(prefix) and not (prefix == "-e" or prefix == "-T"):
            role, to = _OPERAND[prefix]
            return Option(role, to, prefix, arg[len(prefix) :])
    return Option(Role.PLAIN, BOTH, arg, "", _UNKNOWN.format(arg))
