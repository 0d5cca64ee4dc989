"""Makes jobs of Fortran units by recipe S2, and their module files, in separate steps.

It neither scans Fortran (the caller passes the scanner) nor sends anything; where modules are is `modules.py`.

*Theory of operation.*  `fortran_text.read` gets the text that the compiler proper would see.  `make_modules` lets
the master's compiler write the text's `.mod` and `.smod` files, and nothing else.  `prepare` packs the text for a
node, which generates code and whose own module files are thrown away.  Users of a module need the second step only,
not the third: that is the seam of two-phase compilation.

The node's file has a name of ours, `bf__...`, because the real source stands under its own: gfortran reads it again
for the lines and carets of messages.

gfortran looks for modules in its working directory first, so here and on the node every module that the unit reads
stands there, wherever the unit would find it at home: nothing else of this or the node's disk can come before it.
The `-I` options are not needed any more.  On the node, a module that the text defines and reads itself is reached
through a link into its `-J` directory.

distccd (`arg.c: dcc_scan_args`) wants one source whose name it knows, and appends `-MMD`, which is fatal without cpp
(`serve.c: tweak_arguments_for_server`).  `-Xlinker` hides one of each from gcc.  It removes only those files of its
temporary tree that it was sent, hence the empty files in place of the module files that the node will write.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from buildfarm.dispatch import depfile, local, missing_directories, modules
from buildfarm.dispatch.fortran_text import NOTHING_MADE, FortranText, Scanned, content, options_of
from buildfarm.dispatch.linemarkers import named_files, restored, root_link, rooted, told_files
from buildfarm.dispatch.modules import SearchPath
from buildfarm.dispatch.palette import plain
from buildfarm.dispatch.prepared import CannotTravel, Made, Prepared, Repeat
from buildfarm.dispatch.tree import OURS, Tree
from buildfarm.model import MODULE_SUFFIXES, Invocation, Job, SentFile, Unit

_STRICT = "-Werror"
_NODE_TREE = b"/distccd_"  # in the name of the node's temporary tree (tempfile.c: dcc_get_new_tmpdir)


async def make_modules(
    unit: Unit,
    invocation: Invocation,
    tool_path: str,
    text: FortranText,
    *,
    workdir: Path,
    made: Mapping[str, str] = NOTHING_MADE,
) -> tuple[Made, ...]:
    """Make the unit's module files in `workdir`: one `-fsyntax-only`, or nothing if it defines none.

    `made` maps final paths of modules that are not in place yet to the private files that hold them.  What is
    returned need not all be put in place: see `modules.changed`.  Raises CannotTravel.
    """
    if not text.defines_modules:
        return ()
    final = modules.final_directory(unit, invocation.cwd)
    if not os.path.isdir(final):
        raise CannotTravel(f"the module directory {final} does not exist")
    directory = Path(tempfile.mkdtemp(prefix="modules-", dir=workdir))
    links = [_linked(found, directory) for found in _modules_used(unit, invocation.cwd, text, made)]
    name = OURS + os.path.basename(unit.source)
    (directory / name).write_bytes(text.text)
    argv = [tool_path, *_code_flags(unit), "-nocpp", "-fpreprocessed", "-w", "-fsyntax-only", name]
    result = await local.run(argv, cwd=str(directory), env=invocation.env)
    if not result.succeeded:
        raise CannotTravel("its modules can't be made: the source has an error")
    linked = frozenset(links)
    return tuple(
        Made(entry.path, os.path.join(final, entry.name))
        for entry in sorted(os.scandir(directory), key=lambda entry: entry.name)
        if entry.name.endswith(MODULE_SUFFIXES) and entry.inode() not in linked
    )


def _linked(found: modules.Found, directory: Path) -> int:
    """Have the module stand in `directory`, and tell the link's inode.

    By a hard link, which takes no new inode, if the file is ours alone.  gfortran would not write through it: it
    renames what it has written (`module.cc: gfc_dump_module`).
    """
    place = directory / os.path.basename(found.path)
    if found.content_path != found.path:
        try:
            place.hardlink_to(found.content_path)
            return place.stat().st_ino
        except OSError:
            pass  # another file system, or as many links as there may be
    place.symlink_to(found.content_path)
    return place.lstat().st_ino


async def prepare(
    unit: Unit,
    invocation: Invocation,
    tool_path: str,
    text: FortranText,
    *,
    node_tool: str,
    workdir: Path,
    made: Mapping[str, str] = NOTHING_MADE,
) -> Prepared:
    """The job that generates the unit's code; no process unless a depfile needs one.

    `made` as in `make_modules`.  The unit's own module files are not among `outputs_made`.  The words lack those of
    `missing_directories`.  Raises CannotTravel.
    """
    cwd = invocation.cwd
    used = _modules_used(unit, cwd, text, made)
    outputs_made: tuple[Made, ...] = ()
    if unit.depfile is not None:
        outputs_made = (await _write_depfile(unit, invocation, tool_path, workdir, used),)
    missing_directories.missing(unit, cwd)
    stderr = text.stderr
    files = _files(unit, cwd, text, used)
    name = OURS + os.path.basename(unit.source)
    argv = _argv(unit, cwd, node_tool, name)
    path = os.path.join(cwd, name)
    own_words = partial(_without_directory, cwd, unit.source)

    def absolute(serr: bytes) -> bool:
        return any(name.startswith(b"/") for name in told_files(text.text, serr))

    def words(serr: bytes) -> bytes | None:
        serr = own_words(serr)
        return None if serr and (_is_spared(unit) or _NODE_TREE in serr or absolute(serr)) else stderr + serr

    def repeat(serr: bytes) -> Repeat | None:
        """Files with absolute names can't be provided under them, so their lines and carets were missing."""
        if _is_spared(unit) or not absolute(serr):
            return None
        again = (*files, root_link(cwd), SentFile(path, rooted(text.text)))
        return Repeat(Job(argv, cwd=cwd, files=again, recipe="S2r"), lambda serr: stderr + own_words(restored(serr)))

    return Prepared(
        Job(argv, cwd=cwd, files=(*files, SentFile(path, text.text)), recipe="S2"),
        inputs=(*text.inputs, *(found.path for found in used)),
        outputs_made=outputs_made,
        stderr=stderr,
        words=words,
        repeat=repeat,
    )


def _files(unit: Unit, cwd: str, text: FortranText, used: list[modules.Found]) -> tuple[SentFile, ...]:
    """All that the node's compiler reads beside the text, and what its module files need to be written and read."""
    tree = Tree()
    tree.add(text.inputs[0], text.source)
    named = (os.path.join(cwd, os.fsdecode(name)) for name in named_files(text.text))
    for path in dict.fromkeys((*text.inputs[1:], *filter(os.path.isfile, named))):  # for the lines of messages
        tree.add(path, content(path))
    for found in used:
        tree.add(os.path.join(cwd, os.path.basename(found.path)), content(found.content_path))
    final = modules.final_directory(unit, cwd)
    tree.add_directory(final)
    for file in text.scanned.possible_module_files:
        tree.add(os.path.join(final, file), b"")
        if final != os.path.normpath(cwd):
            tree.add_link(os.path.join(cwd, file), os.path.join(os.path.relpath(final, cwd), file))
    return tree.files()


def _argv(unit: Unit, cwd: str, node_tool: str, name: str) -> tuple[str, ...]:
    module_directory = options_of(unit).module_directory
    return (
        node_tool,
        *(flag for flag in _code_flags(unit) if flag != _STRICT or not _is_spared(unit)),
        *(() if module_directory is None else (f"-J{_relative(module_directory, cwd)}",)),
        "-nocpp",
        "-fpreprocessed",
        missing_directories.SILENCE,
        "-S" if unit.assembler_only else "-c",
        name,
        "-o",
        "unit.o",
        "-Xlinker",
        "-MMD",
        "-Xlinker",
        "unit.i",
    )


def _is_spared(unit: Unit) -> bool:
    """Whether the node is not told that warnings are errors: it would say so of its own disk (`_without_directory`).

    If it has to warn of anything else, the local compile fails.
    """
    return unit.source.startswith("/") and _STRICT in unit.compile_arguments


def _without_directory(cwd: str, source: str, serr: bytes) -> bytes:
    """The node's messages without f951's warning that it may not look into the directory that the text names.

    That is a directory of the node's own disk, and none of this compile's (`scanner.cc: add_path_to_list`).
    """
    if b"f951:" not in serr:
        return serr
    directory = os.path.join(cwd, os.path.dirname(source)).rstrip("/")
    line = re.compile(rb"f951: .*" + re.escape(os.fsencode(directory)) + rb"/?[^/\w\n].*\n")
    return b"".join(said for said in serr.splitlines(keepends=True) if not line.match(plain(said)))


def _modules_used(unit: Unit, cwd: str, text: FortranText, made: Mapping[str, str]) -> list[modules.Found]:
    """The module files that the unit reads and does not define itself.

    One that it defines and reads must not be found elsewhere first: the compiler would read that one.
    """
    search = SearchPath.of(unit, cwd)
    final = modules.final_directory(unit, cwd)
    for file in _own_modules_read(text.scanned):
        hidden = search.module(file, {})
        if hidden is not None and os.path.normpath(os.path.dirname(hidden.path)) != final:
            raise CannotTravel(f"{hidden.typed} hides the module of that name that it defines")
    files = []
    for file in (
        *(f"{name}.mod" for name in text.scanned.needed_modules),
        *text.scanned.needed_submodule_files,
    ):
        found = search.module(file, made)
        if found is not None:
            files.append(found)
        elif not modules.is_intrinsic(file):
            raise CannotTravel(f"{file} is not found")
    return files


def _own_modules_read(scanned: Scanned) -> list[str]:
    """The module files that the text both writes and may read."""
    files = [f"{name}.mod" for name in scanned.uses if name in scanned.defines]
    if any("@" in file for file in scanned.possible_module_files):
        files += [file for file in scanned.possible_module_files if file.endswith(".smod")]
    return files


async def _write_depfile(
    unit: Unit, invocation: Invocation, tool_path: str, workdir: Path, used: list[modules.Found]
) -> Made:
    """Write it; modules that are not in place yet stand in directories of ours, and are named as they will be."""
    assert unit.depfile is not None, "BUG: no depfile"
    stand_ins: dict[str, Path] = {}  # by the directory as typed
    for found in used:
        if found.content_path != found.path:
            typed = os.path.dirname(found.typed)
            place = stand_ins.setdefault(typed, workdir / f"depfile-modules-{len(stand_ins)}")
            place.mkdir(exist_ok=True)
            link = place / os.path.basename(found.path)
            link.unlink(missing_ok=True)
            link.symlink_to(found.content_path)
    private = workdir / "depfile-modules"
    private.mkdir(exist_ok=True)
    temporary = workdir / "depfile"
    home = options_of(unit).module_directory
    flags = [arg for arg in unit.preprocess_arguments if not arg.startswith("-J")]
    argv = [
        tool_path,
        f"-I{private}",  # for a module that the unit defines and uses: not an old one in its module directory
        *(f"-I{place}" for place in stand_ins.values()),
        *flags,
        *(() if home is None else (f"-I{home}",)),  # where the compiler looks last
        f"-J{private}",
        "-w",
        "-fsyntax-only",
        *unit.depfile.arguments,
        f"-MF{temporary}",
    ]
    result = await local.run([*argv, unit.source], cwd=invocation.cwd, env=invocation.env)
    if not result.succeeded:
        raise CannotTravel("its depfile can't be made: the source has an error")
    text = temporary.read_bytes()
    for typed, place in (*stand_ins.items(), (home or "", private)):
        text = depfile.renamed(text, os.fsencode(f"{place}/"), os.fsencode(f"{typed}/" if typed else ""))
    temporary.write_bytes(text)
    return Made(str(temporary), os.path.join(invocation.cwd, unit.depfile.path))


def _code_flags(unit: Unit) -> list[str]:
    return [arg for arg in unit.compile_arguments if not arg.startswith("-I")]


def _relative(directory: str, cwd: str) -> str:
    return os.path.relpath(directory, cwd) if directory.startswith("/") else directory
