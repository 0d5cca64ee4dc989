"""Reads a compiler command into what its arguments ask for, in one pass.

It does not decide what the command comes to: `classify` does.
"""

from __future__ import annotations

from collections.abc import Sequence

from buildfarm.graph.names import Tool, is_device
from buildfarm.graph.options import NATIVE_REASON, PREPROCESS, Option, Role, look_up

_LINKERS = (Role.PLAIN, Role.LIBRARY, Role.FOR_LINKER)  # what goes to neither step is for a link


class Command:
    """One compiler command, read in a single pass; `local_reason` is the first that an argument gave."""

    def __init__(self, name: str, tool: Tool, argv: Sequence[str]) -> None:
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
        self.link_time: str | None = None  # -flto
        self.seed: str | None = None  # -frandom-seed
        self.stack_usage = False  # -fstack-usage
        self.listing: str | None = None  # -Wa,-a...=FILE
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
        inputs_before = 0  # the latest -x
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
            role = option.role
            if option.to:
                flags.append((option.to, arg))
            elif role in _LINKERS and self.tool.family == "clang":
                flags.append((PREPROCESS, arg))  # clang says that it does not use it
            if role:
                if role is Role.LANGUAGE:
                    language = "" if value == "none" else value
                    inputs_before = len(self.inputs)
                else:
                    self._act(option, role, arg, value)
        if language and inputs_before == len(self.inputs):
            self.stay(f"-x {language}: after the source, of which the compiler warns")

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
                self.stay("-MG: not valid where an object is made")
        elif role is Role.FULL_PREPROCESSING:
            self.full_preprocessing = True
        elif role is Role.LINK_TIME:
            self.link_time = arg
        elif role is Role.SEED:
            self.seed = arg
        elif role is Role.STACK_USAGE or role is Role.NO_STACK_USAGE:
            self.stack_usage = role is Role.STACK_USAGE
        elif role is Role.LISTING:
            if self.listing is not None or is_device(value):
                self.stay(f"{arg}: not known to be safe on a node")
            self.listing = value
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

    def stay(self, reason: str) -> None:
        if self.local_reason is None:
            self.local_reason = reason

    def _for_preprocessor(self, arg: str) -> None:
        """`-Wp,`: a depfile (Kbuild's `-Wp,-MMD,FILE`), its targets, or macros (`-Wp,-D_FORTIFY_SOURCE=2`)."""
        words = arg.split(",")[1:]
        if all(word.startswith(("-D", "-U")) and len(word) > 2 for word in words):
            self.flags.append((PREPROCESS, arg))
            return
        self.dependency_arguments.append(arg)
        remaining = iter(words)
        for word in remaining:
            if word in ("-MD", "-MMD") and self.wrapped_depfile is None:
                self.wrapped_depfile = next(remaining, None)
                known = self.wrapped_depfile is not None
            else:
                known = word == "-MP" or (word in ("-MT", "-MQ") and next(remaining, None) is not None)
            if not known:
                self.stay(f"{arg}: not known to be safe on a node")

    def _for_linker(self, value: str) -> None:
        """Files that the linker writes besides the program: `-Wl,-Map=FILE`, `-Wl,-Map,FILE`."""
        words = value.removeprefix("-Wl,").split(",")
        for position, word in enumerate(words):
            if word.startswith(("-Map=", "--Map=")):
                self.link_outputs.append(word.partition("=")[2])
            elif word in ("-Map", "--Map") and position + 1 < len(words):
                self.link_outputs.append(words[position + 1])
