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
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.frame import publish
from tests.farm import Farm
from tests.tool import environment

HOME = Path(__file__).parent.parent
RECORDS = HOME / "docs" / "compatibility.json"
PAGE = HOME / "docs" / "compatibility.md"
TIMEOUT = 1800.0
BARE = ("--strip-debug", "--remove-section=.note.gnu.build-id", "--enable-deterministic-archives")


@dataclass
class Build:
    """What one build left."""

    status: int
    files: dict[str, str]  # by name: mode and digest
    bare: dict[str, str]  # the same without debug information and build id
    left: list[str]  # what `make -n` would still print
    null_seconds: float  # make's next build, which finds nothing to do


@dataclass
class Record:
    """One project's figures, as kept."""

    name: str
    source: str
    version: str
    buildfarm: str = ""  # the revision that built it
    status: tuple[int, int] = (0, 0)  # make's, buildfarm's
    files: int = 0
    raw: int = 0  # of `files`, equal in every byte
    stripped: int = 0  # of the rest, equal without debug information and build id
    own: list[str] = field(default_factory=list)  # of the rest, different between two builds by make
    different: list[str] = field(default_factory=list)
    remote: int = 0
    local: dict[str, int] = field(default_factory=dict)  # units by reason
    unseen: list[str] = field(default_factory=list)  # objects that no step of buildfarm's wrote
    left: tuple[int, int] = (0, 0)  # lines of `make -n` afterwards
    planning: dict[str, float] = field(default_factory=dict)  # as in the status document
    lookahead: int | None = 0  # None: not kept; units of `planning`'s that lay ready when make asked
    null_seconds: float = 0.0  # of make's own build with nothing to do


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
                    print(
                        f"{name}: {error}\n{(error.stderr or b'').decode(errors='replace')[-1000:]}",
                        flush=True,
                    )
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
    status = _status(place, words)
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
            if content.startswith((b"\x7fELF", b"!<arch>")):
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


def _status(place: Path, words: list[str]) -> dict[str, Any]:
    where = words[:2] if words[:1] == ["-C"] else []
    command = [sys.executable, "-m", "buildfarm", "status", "--json", *where]
    told = subprocess.run(command, cwd=place, env=environment(), check=False, capture_output=True)
    document: dict[str, Any] = json.loads(told.stdout)
    return document


def _bare(path: Path) -> str:
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory, "bare")
        done = subprocess.run(["objcopy", *BARE, str(path), str(target)], check=False, capture_output=True)
        return hashlib.sha256((path if done.returncode else target).read_bytes()).hexdigest()


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
            # A compiler's own words may name places of this machine: the reason is enough.
            local[reasons[event["output"]].partition(": /")[0]] += max(1, len(objects))
    record.local = dict(local.most_common())
    return made


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def row(record: Record, note: str) -> str:
    """The page's line for one project."""
    status = "same" if record.status[0] == record.status[1] else f"{record.status[0]}, {record.status[1]}"
    left = "same" if record.left[0] == record.left[1] else f"{record.left[0]}, {record.left[1]}"
    local = "; ".join(f"{number} {reason}" for reason, number in record.local.items()) or "0"
    return (
        f"| [{record.name}]({record.source}) | {record.version} | {status} | {record.files} | {record.raw} | "
        f"{record.stripped} | {len(record.own)} | {len(record.different)} | {record.remote} | {local} | "
        f"{len(record.unseen)} | {left} | {note} |"
    )


def plan_row(record: Record) -> str:
    """The line of the second table."""
    plan = record.planning

    def share(number: float) -> str:
        return f"{100 * number / plan['asked']:.1f} %" if plan["asked"] else "-"

    ahead = "-" if record.lookahead is None else record.lookahead
    null = f"{record.null_seconds:.2f}" if record.null_seconds else "-"
    return (
        f"| {record.name} | {plan['asked']} | {share(plan['predicted'])} | {share(plan['foreseen'])} | {ahead} | "
        f"{plan['wasted']} | {plan['instances']} | {plan['seconds']:.2f} | {null} |"
    )


HEAD = """\
# Compatibility

Real projects, built by `make` and by `buildfarm run` in the same place on two `distccd`, and compared file by file.
This page is written by `python -m tools.compatibility CHECKOUTS`; `tools/compatibility.toml` lists them.
Each was built as its kind usually is, some with words of their own (`--recipes`) that leave out what takes long or
what the machine lacks.
{revisions}

- *status*: exit statuses are the same, or make's and buildfarm's.
- *files* in the tree afterwards; *raw*: equal in every byte and in mode; *stripped*: of the others, those equal
  after `objcopy --strip-debug` and without the linker's build id (only debug information differs, see below);
  *make's own*: of the others, those that differ between two builds by make as well; *different*: what is left, to
  be explained or mended.
- *remote*: units compiled on nodes; *local*: objects compiled here, by reason; *unseen*: object files that no step
  wrote that buildfarm saw (a copy of an object counts too).
- *make -n*: what make would still print afterwards is as much as after a build by make.

With `-g` an object from a node differs from a local one in its debug information (the producer string; columns of
macros), and so does the build id of a program that is linked of such objects; code and data are the same.

"""


PLANNING = """\
## Plans of real projects

What plans were worth in the builds of [compatibility](compatibility.md), as `buildfarm status --json` tells under
`planning` (two nodes of two slots, all on one machine with two cores). Written by `python -m tools.compatibility`.

- *compiles* of objects that make asked for; *predicted*: the share that a plan has named, before or after make asked
  (a make's dry run begins when that make does, so its first `-j` compiles are asked for before the plan can be
  there); *before make asked*: the share that was named by then.
- *from lookahead*: units whose result was made, or under way, when make asked; *thrown away*: results made ahead
  that did not fit any more.
- *instances* of make that were planned; *planning*: seconds that the dry runs took, beside the build and without
  delaying it; *null build*: seconds that plain `make` takes afterwards to find that nothing is to be done, in one
  instance after the other. Both were taken on a busy machine: only their ratio says something.

"""


def page(projects: dict[str, Any], records: dict[str, Any]) -> str:
    """The page of compatibility, from all records."""
    titles = "project | version | status | files | raw | stripped | make's own | different | remote | local | unseen"
    lines = [f"| {titles} | make -n | note |", "|" + " --- |" * 13]
    found = [Record(**records[name]) for name in projects if name in records]
    lines += [row(record, projects[record.name].get("note", "")) for record in found]
    built = collections.Counter(record.buildfarm for record in found)
    if len(built) == 1:
        revisions = f"All were built by buildfarm at revision {found[0].buildfarm}."
    else:
        told = (f"{revision or 'an older one'} ({count})" for revision, count in built.most_common())
        revisions = f"Revisions of buildfarm and how many projects each has built: {', '.join(told)}."
    return HEAD.replace("{revisions}", revisions) + "\n".join(lines) + "\n"


def planning(projects: dict[str, Any], records: dict[str, Any]) -> str:
    """The section of the page of performance."""
    titles = (
        "compiles | predicted | before make asked | from lookahead | thrown away | instances | planning | null build"
    )
    lines = [f"| project | {titles} |", "|" + " --- |" * 9]
    found = [Record(**records[name]) for name in projects if name in records]
    return PLANNING + "\n".join([*lines, *(plan_row(record) for record in found if "predicted" in record.planning)])


if __name__ == "__main__":
    sys.exit(main())
