"""`python -m tools.compatibility`: builds real projects by make and by buildfarm and compares all that is left.

    python -m tools.compatibility CHECKOUTS [NAME ...]     CHECKOUTS holds the projects' clones, by name
    python -m tools.compatibility --recipes FILE CHECKOUTS NAME ...     FILE says how some of them are built
    python -m tools.compatibility --page                   write the pages anew from what was measured

FILE is TOML, a table for each project: `prepare`, words for sh; `make`, a list of words; `environment`, a table in
which `{place}` is where it is built; and `source` for a project that tools/compatibility.toml does not list.  A
project that FILE says nothing of is prepared as its kind usually is (`usual`).

Each project is prepared in one place and built there by make, and again, from the same beginning, by buildfarm on
two distccd of this machine, so that no path differs.  Where files differ make builds once more: what differs between
two builds by make is make's own (dates, random names).  The figures are kept in docs/compatibility.json; the pages
are docs/compatibility.md and the section `planning` of docs/performance.md.
"""

from __future__ import annotations

import argparse
import collections
import functools
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.frame import publish
from buildfarm.make.arguments import parse
from tests.farm import Farm
from tests.tool import environment
from tools.compatibility_page import Record, page, planning, row

HOME = Path(__file__).parent.parent
RECORDS = HOME / "docs" / "compatibility.json"
PAGE = HOME / "docs" / "compatibility.md"
TIMEOUT = 1800.0
_SIZE = re.compile(rb"(\n/\d[\d /]{46})[\d ]{10}(?=`\n)")  # of an archive's member with a long name (ar.h)
BARE = ("--strip-debug", "--remove-section=.note.gnu.build-id", "--enable-deterministic-archives")


@dataclass
class Build:
    """What one build left."""

    status: int
    files: dict[str, str]  # by name: mode and digest
    bare: dict[str, str]  # the same without debug information and build id
    left: list[str]  # what `make -n` would still print
    null_seconds: float  # make's next build, which finds nothing to do


def main() -> int:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m tools.compatibility", description=__doc__)
    parser.add_argument("checkouts", nargs="?", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--recipes", type=Path)
    arguments = parser.parse_args()
    projects = tomllib.loads((Path(__file__).parent / "compatibility.toml").read_text())
    if arguments.recipes is not None:
        for name, recipe in tomllib.loads(arguments.recipes.read_text()).items():
            projects[name] = {"source": "", **projects.get(name, {}), **recipe}
    records = _records()
    bad = 0
    if arguments.checkouts is not None:
        with (
            Farm(count=2, jobs=2) as farm,
            tempfile.TemporaryDirectory(prefix="bf-compatibility-") as scratch,
        ):
            for name in arguments.names or projects:
                checkout = arguments.checkouts / projects[name].get("directory", name)
                try:
                    record = measure(name, projects[name], checkout, Path(scratch) / "b", farm.hosts)
                except subprocess.CalledProcessError as error:
                    print(trouble(name, error), flush=True)
                    bad += 1
                    continue
                records = _records()  # another run may have written meanwhile
                records[name] = asdict(record)
                RECORDS.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n")
                print(row(record, projects[name].get("note", "")), *record.different[:20], sep="\n  ")
                print(
                    f"make's own: {' '.join(record.own[:20])}",
                    record.planning,
                    record.unseen[:20],
                    flush=True,
                )
                bad += bool(record.different) or record.status[0] != record.status[1]
    PAGE.write_text(page(projects, records))
    publish("planning", planning(projects, records))
    return 1 if bad else 0


def trouble(name: str, error: subprocess.CalledProcessError) -> str:
    """Why a project could not be prepared, and the last words of the command that failed."""
    words = error.stderr or b""
    return f"{name}: {error}\n{(words if isinstance(words, str) else words.decode(errors='replace'))[-1000:]}"


def _records() -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(RECORDS.read_text()) if RECORDS.exists() else {}
    return kept


def measure(name: str, project: dict[str, Any], checkout: Path, place: Path, hosts: str) -> Record:
    """Build by make and by buildfarm, compare.  Raises CalledProcessError when it can't be prepared."""
    version = project.get("version") or _output(  # it has none of git's when it was unpacked from an archive
        ["git", "-C", str(checkout), "describe", "--tags", "--always", "--long"]
    )
    record = Record(name, project["source"], version, _output(["git", "-C", str(HOME), "rev-parse", "--short", "HEAD"]))
    project = {**usual(checkout), **project}
    words = project.get("make", [])
    pristine = _prepare(project, checkout, place)
    expected = _build(project, pristine, place, ["make", "-j3", *words])
    events = place.parent / "events"
    events.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "buildfarm",
        "run",
        "--plain",
        "--events",
        str(events),
        "--hosts",
        hosts,
        *words,
    ]
    found = _build(project, pristine, place, command)
    made = _read_events(events, record)
    status = status_of(place, words)
    record.planning, record.lookahead = status["planning"], status["units"]["lookahead"]
    record.null_seconds = round(expected.null_seconds, 3)
    record.status = (expected.status, found.status)
    record.left = (len(expected.left), len(found.left))
    record.files = len(expected.files.keys() | found.files.keys())
    for path in sorted(expected.files.keys() | found.files.keys()):
        if expected.files.get(path) == found.files.get(path):
            record.raw += 1
        elif path in found.bare and expected.bare.get(path) == found.bare[path]:
            record.stripped += 1
        else:
            record.different.append(path)
    prepared = {str(place / path.relative_to(pristine)) for path in pristine.rglob("*.o")}
    objects = {str(place / path) for path in found.files if path.endswith(".o")}
    unseen = (os.path.relpath(path, place) for path in objects - made - prepared)
    record.unseen = sorted(path.replace(str(place), "") for path in unseen)  # distutils nests the whole path
    if record.different:
        again = _build(project, pristine, place, ["make", "-j3", *words])
        own = {path for path in record.different if again.bare.get(path, "") != expected.bare.get(path, "")}
        record.own = sorted(own)
        record.different = [path for path in record.different if path not in own]
    shutil.rmtree(place, ignore_errors=True)
    return record


def usual(checkout: Path) -> dict[str, Any]:
    """How a project of this kind is built where nobody says otherwise."""
    if any((checkout / name).exists() for name in ("Makefile", "GNUmakefile", "makefile")):
        return {}
    if (checkout / "configure").exists():
        return {"prepare": "./configure"}
    if (checkout / "CMakeLists.txt").exists():
        return {"prepare": "cmake -S . -B build", "make": ["-C", "build"]}
    if (checkout / "configure.ac").exists():
        return {"prepare": "autoreconf -fi && ./configure"}
    return {}


def _prepare(project: dict[str, Any], checkout: Path, place: Path) -> Path:
    """Prepare the project where it will be built, then take it away: the copy that every build begins with."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(checkout, place, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    if "prepare" in project:
        subprocess.run(
            ["sh", "-ec", project["prepare"]],
            cwd=place,
            env=_surroundings(project, place),
            stdin=subprocess.DEVNULL,
            check=True,
            capture_output=True,
        )
    pristine = place.with_name("pristine")
    shutil.rmtree(pristine, ignore_errors=True)
    return place.rename(pristine)


def _surroundings(project: dict[str, Any], place: Path) -> dict[str, str]:
    """The environment of everything that is run for a project; `{place}` in it is where it is built."""
    own = {name: value.replace("{place}", str(place)) for name, value in project.get("environment", {}).items()}
    return environment(**own)


def _build(project: dict[str, Any], pristine: Path, place: Path, command: list[str]) -> Build:
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run(["cp", "-a", str(pristine), str(place)], check=True)
    begun = time.monotonic()
    done = subprocess.run(
        command,
        cwd=place,
        env=_surroundings(project, place),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )
    print(f"{' '.join(command[:3])}: {time.monotonic() - begun:.1f} s", flush=True)
    if done.returncode:
        print(done.stdout.decode(errors="replace")[-2000:], done.stderr.decode(errors="replace")[-2000:])
    files: dict[str, str] = {}
    bare: dict[str, str] = {}
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        status = path.lstat()
        if name.startswith(".buildfarm") or "/.buildfarm" in name or stat.S_ISDIR(status.st_mode):
            continue
        if path.is_symlink():
            files[name] = f"link {path.readlink()}"
        elif stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
            files[name] = f"{stat.filemode(status.st_mode)} {hashlib.sha256(content).hexdigest()}"
            bare[name] = files[name]
            if content.startswith((b"\x7fELF", b"!<arch>", b"!<thin>")):
                bare[name] = _bare(path)
    words = project.get("make", [])
    still = subprocess.run(
        ["make", "-n", *words],
        cwd=place,
        env=_surroundings(project, place),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    begun = time.monotonic()
    subprocess.run(
        ["make", *words],
        cwd=place,
        env=_surroundings(project, place),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )
    null_seconds = time.monotonic() - begun
    return Build(done.returncode, files, bare, still.stdout.decode(errors="replace").splitlines(), null_seconds)


def status_of(place: Path, words: list[str]) -> dict[str, Any]:
    """The status document of `buildfarm run WORDS` in `place`, wherever among the words its -C stands."""
    where = parse(words).directory
    command = [sys.executable, "-m", "buildfarm", "status", "--json", "-C", where]
    told = subprocess.run(command, cwd=place, env=environment(), check=False, capture_output=True)
    document: dict[str, Any] = json.loads(told.stdout)
    return document


def _bare(path: Path) -> str:
    content = path.read_bytes()
    if content.startswith(b"!<thin>\n"):  # names its members and tells their sizes, with debug information
        return hashlib.sha256(_SIZE.sub(rb"\1", content)).hexdigest()
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory, "bare")
        for objcopy in _objcopies():
            done = subprocess.run([objcopy, *BARE, str(path), str(target)], check=False, capture_output=True)
            if not done.returncode and not done.stderr:  # an archive's members that it does not know it only tells of
                return hashlib.sha256(target.read_bytes()).hexdigest()
        return hashlib.sha256(content).hexdigest()


@functools.cache
def _objcopies() -> tuple[str, ...]:
    """This machine's, then those of cross compilers: each knows its own machine's files, and refuses others'."""
    directories = os.get_exec_path()
    return ("objcopy", *sorted(str(path) for directory in directories for path in Path(directory).glob("*-objcopy")))


def _read_events(events: Path, record: Record) -> set[str]:
    """Count the units; the outputs of all steps."""
    made: set[str] = set()
    reasons: dict[str, str] = {}
    directory = ""
    local: collections.Counter[str] = collections.Counter()
    for line in events.read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "build_started":
            directory = event["directory"]
        if event["event"] == "check_out" and event["node"] is None:  # else the same output may be made ahead
            reasons[event["output"]] = event["reason"] or "no reason told"
        if event["event"] != "check_in":
            continue
        made.update(os.path.normpath(os.path.join(directory, path)) for path in event["outputs"])
        objects = [path for path in event["outputs"] if path.endswith(".o")]
        if event["kind"] != "compile" and (event["kind"] != "other" or not objects):
            continue
        if event["node"]:
            record.remote += 1
        else:
            local[_reason(reasons[event["output"]])] += max(1, len(objects))
    record.local = dict(local.most_common())
    return made


def _reason(told: str) -> str:
    """A reason without places of this machine, which a compiler may name, and without the names of nodes."""
    if re.match(r"\S+:\d+: no word for ", told):
        return "a node had fallen silent"
    return told.partition(": /")[0]


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
