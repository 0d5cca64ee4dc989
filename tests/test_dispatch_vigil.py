"""Whatever happens to the system's files is noticed at once where the kernel tells of it, and soon where it doesn't."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from buildfarm.dispatch import closure, inotify, stamps
from buildfarm.dispatch.closure import SearchPath
from buildfarm.dispatch.headers import Headers
from buildfarm.dispatch.vigil import Vigil
from tests.farm import PATIENCE


def watching() -> Vigil:
    """A vigil that can be kept; a user has 128 inotify instances, and other programs of his have some."""
    if (queue := inotify.queue()) is None:
        pytest.skip("no inotify instance is to be had: raise fs.inotify.max_user_instances")
    queue.close()
    return Vigil()


@pytest.fixture
def usr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree that is taken for the system's, with a vigil of its own."""
    root = tmp_path / "usr"
    for name in ("include", "local/include", "lib/12"):
        (root / name).mkdir(parents=True)
    (root / "include" / "a.h").write_text("#include <b.h>\n")
    (root / "include" / "b.h").write_text("")
    (root / "lib" / "current").symlink_to("12")
    (root / "lib" / "12" / "c.h").write_text("")
    (root / "lib" / "13").mkdir()
    for module in (stamps, closure):
        monkeypatch.setattr(module, "SYSTEM", (f"{root}/",))
    watch = inotify.Queue.watch

    def watch_own(queue: inotify.Queue, directory: str, mask: int) -> int:
        """But not the directories above: what anybody does there, in /tmp say, is a change as well."""
        return watch(queue, directory, mask) if Path(directory).is_relative_to(tmp_path) else 0

    monkeypatch.setattr(inotify.Queue, "watch", watch_own)
    vigil = watching()
    if not vigil.covers(str(root / "include")):
        pytest.skip("inotify is missing: install the tests on a disk of this machine")
    monkeypatch.setattr(stamps, "_vigil", lambda: vigil)
    return root


def replace(directory: Path) -> None:
    directory.rename(directory.with_name("old"))
    directory.mkdir()


def link_to(link: Path, target: str) -> None:
    link.with_name("new").symlink_to(target)
    link.with_name("new").rename(link)


CHANGES: dict[str, Callable[[Path], object]] = {
    "an edit": lambda usr: (usr / "include/a.h").write_text("// other\n"),
    "an edit of one byte": lambda usr: (usr / "include/a.h").open("r+").write("%"),
    "a time": lambda usr: os.utime(usr / "include/a.h", (1, 1)),
    "a mode": lambda usr: (usr / "include/a.h").chmod(0o600),
    "a new file": lambda usr: (usr / "include/c.h").write_text(""),
    "a new link": lambda usr: (usr / "include/c.h").symlink_to("a.h"),
    "a new name for an old file": lambda usr: os.link(usr / "include/a.h", usr / "include/c.h"),
    "a file that is gone": lambda usr: (usr / "include/a.h").unlink(),
    "a file moved away": lambda usr: (usr / "include/a.h").rename(usr.parent / "a.h"),
    "a file moved over another": lambda usr: (usr / "include/b.h").rename(usr / "include/a.h"),
    "another directory": lambda usr: replace(usr / "include"),
    "another directory above": lambda usr: replace(usr),
    "a directory that was missing": lambda usr: (usr / "missing").mkdir(),
    "a link to a directory that leads elsewhere": lambda usr: link_to(usr / "lib/current", "13"),
    "an edit behind such a link": lambda usr: (usr / "lib/12/c.h").write_text("// other\n"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_noticed_at_once(usr: Path, change: Callable[[Path], object]) -> None:
    vigil = watching()
    assert all(vigil.covers(str(usr / name)) for name in ("include", "missing/deep", "lib/current"))
    before = vigil.changed()
    assert vigil.changed() == before
    change(usr)
    noticed = vigil.changed()
    assert before < noticed <= time.monotonic()
    assert vigil.changed() == noticed
    assert vigil.covers(str(usr.parent / "usr" / "lib"))


def test_a_directory_that_came_is_watched_then(usr: Path) -> None:
    vigil = watching()
    assert vigil.covers(str(usr / "missing"))
    (usr / "missing").mkdir()
    assert vigil.changed() > 0 and vigil.covers(str(usr / "missing"))
    (usr / "missing" / "a.h").write_text("")
    before = time.monotonic()
    assert vigil.changed() > before


def test_more_events_than_the_queue_holds_are_a_change(usr: Path) -> None:
    vigil = watching()
    assert vigil.covers(str(usr / "include"))
    held = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if held > 100_000:
        pytest.skip("a queue of usual length is missing: install fs.inotify.max_queued_events=16384")
    for _ in range(held // 2 + 2):
        os.utime(usr / "include/a.h")
        os.utime(usr / "include/b.h")
    assert vigil.changed() > 0


def test_directories_of_other_file_systems_are_not_covered() -> None:
    assert not Vigil().covers("/proc/sys")
    assert not Vigil().covers("/sys/kernel")


def test_who_keeps_no_vigil_any_more_holds_no_inotify_instance() -> None:
    def held() -> int:
        found = 0
        for number in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):  # the listing's own
                found += os.readlink(f"/proc/self/fd/{number}").endswith("inotify")
        return found

    before = held()
    vigil = watching()
    assert held() == before + 1
    del vigil
    assert held() == before


# --- stamps ---


def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that are looked at from now on."""
    looked: list[str] = []
    real = stamps._status

    def status(path: str, *, follow: bool = True) -> tuple[stamps.Stamp | None, bool, bool]:
        looked.append(path)
        return real(path, follow=follow)

    monkeypatch.setattr(stamps, "_status", status)
    return looked


def test_a_look_counts_until_something_changes(usr: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(usr / "include" / name) for name in ("a.h", "b.h", "missing.h")]
    looked = looks(monkeypatch)
    monkeypatch.setattr(stamps, "VIGIL_SECONDS", PATIENCE)
    first = stamps.stamps(paths)
    assert stamps.stamps(paths) == first and stamps.same(first) and looked == paths
    (usr / "include" / "missing.h").write_text("")
    assert not stamps.same(first) and stamps.file_stamp(paths[2]) is not None


def test_a_look_counts_no_longer_than_a_moment(usr: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(usr / "include" / "a.h")
    looked = looks(monkeypatch)
    stamps.stamp(path)
    monkeypatch.setattr(stamps, "VIGIL_SECONDS", 0.0)
    stamps.stamp(path)
    assert len(looked) == 2


@pytest.mark.parametrize("link", [False, True])
def test_without_the_kernels_word_a_look_counts_for_a_glance(
    usr: Path, link: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = usr / "include" / "a.h"
    if link:  # the file that it leads to is where nobody watches
        (usr.parent / "a.h").write_text("")
        path.unlink()
        path.symlink_to("../../a.h")
    else:
        monkeypatch.setattr(inotify, "queue", lambda: None)
        vigil = Vigil()
        monkeypatch.setattr(stamps, "_vigil", lambda: vigil)
    before = stamps.stamp(str(path))
    (usr.parent / "a.h" if link else path).write_text("// other\n")
    time.sleep(stamps.GLANCE_SECONDS)
    assert stamps.stamp(str(path)) != before


def test_a_directory_that_is_replaced_is_another(usr: Path) -> None:
    before = stamps.directory(str(usr / "include"))
    assert before is not None and stamps.directory(str(usr / "include")) == before
    replace(usr / "include")
    assert stamps.directory(str(usr / "include")) not in (before, None)


# --- headers ---


def found(seen: Headers, usr: Path) -> set[str]:
    source = usr.parent / "x.c"
    if not source.exists():
        source.write_text("#include <a.h>\n")
    search = SearchPath((), (str(usr / "local/include"), str(usr / "include")), (f"{usr}/",))
    return {
        os.path.relpath(header.path, usr) for header in seen.closure(str(source), (), str(usr.parent), search).files[1:]
    }


def test_system_headers_that_change_come_or_go_are_seen_by_the_next_unit(usr: Path) -> None:
    seen = Headers()
    assert found(seen, usr) == found(seen, usr) == {"include/a.h", "include/b.h"}
    (usr / "include/b.h").write_text("#include <c.h>\n#include <d.h>\n")
    (usr / "include/c.h").write_text("")
    assert found(seen, usr) == {"include/a.h", "include/b.h", "include/c.h"}
    (usr / "local/include/c.h").write_text("")
    assert found(seen, usr) == {"include/a.h", "include/b.h", "local/include/c.h"}
    (usr / "include/b.h").unlink()
    assert found(seen, usr) == {"include/a.h"}
    (usr / "include/b.h").symlink_to("c.h")
    assert found(seen, usr) == {"include/a.h", "include/b.h"}
