"""The names in a directory are those of the moment, however they came there and whoever tells."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from buildfarm.dispatch import inotify
from buildfarm.dispatch.closure import SearchPath
from buildfarm.dispatch.headers import Headers
from buildfarm.dispatch.listings import Listings


@pytest.fixture(params=[True, False], ids=["told", "not told"])
def told(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the kernel tells what happens."""
    if not request.param:
        monkeypatch.setattr(inotify, "queue", lambda: None)
        return False
    queue = inotify.queue()
    if queue is None:  # other programs of this user may have them all
        pytest.skip("no inotify instance is to be had: raise fs.inotify.max_user_instances")
    queue.close()
    return True


def followed(directory: Path) -> Listings:
    listings = Listings()
    for _ in range(2):
        assert set(listings.names(str(directory))) == set(os.listdir(directory))
    return listings


def test_names_that_come_and_go_are_known(tmp_path: Path, told: bool) -> None:
    place, other = tmp_path / "place", tmp_path / "other"
    place.mkdir()
    other.mkdir()
    (place / "first").write_text("")
    listings = followed(place)
    assert (listings.followed(str(place)) is not None) == told
    chance = random.Random(1)
    for number in range(300):
        here, there = place / str(chance.randrange(20)), other / str(chance.randrange(20))
        match number % 6:
            case 0:
                here.write_text("")
            case 1:
                here.unlink(missing_ok=True)
            case 2 if here.exists():
                here.rename(there)
            case 3 if there.exists():
                there.rename(here)
            case 4 if here.exists():
                here.rename(place / f"to {number}")
            case 5:
                here.unlink(missing_ok=True)
                here.symlink_to("nowhere")
        if chance.random() < 0.7:
            assert set(listings.names(str(place))) == set(os.listdir(place))
    assert set(listings.names(str(place))) == set(os.listdir(place))


def test_a_directory_that_is_replaced_is_listed_anew(tmp_path: Path, told: bool) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "old").write_text("")
    listings = followed(place)
    place.rename(tmp_path / "away")
    place.mkdir()
    (place / "new").write_text("")
    (tmp_path / "away" / "more").write_text("")
    for _ in range(3):
        assert set(listings.names(str(place))) == {"new"}
    (place / "new").unlink()
    place.rmdir()
    with pytest.raises(FileNotFoundError):
        listings.names(str(place))
    place.mkdir()
    (place / "newest").write_text("")
    for _ in range(3):
        assert set(listings.names(str(place))) == {"newest"}
    (place / "last").write_text("")
    assert set(listings.names(str(place))) == {"newest", "last"}


def test_two_paths_to_a_directory_have_the_same_names(tmp_path: Path, told: bool) -> None:
    place, link = tmp_path / "place", tmp_path / "link"
    place.mkdir()
    link.symlink_to("place")
    listings = followed(place)
    for _ in range(2):
        assert not listings.names(str(link))
    (place / "new").write_text("")
    assert set(listings.names(str(link))) == set(listings.names(str(place))) == {"new"}
    (tmp_path / "third").mkdir()
    link.unlink()
    link.symlink_to("third")
    assert not listings.names(str(link)) and set(listings.names(str(place))) == {"new"}


def test_more_news_than_the_queue_holds_are_found_by_listing(tmp_path: Path) -> None:
    listings = followed(tmp_path)
    held = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if held > 100_000:
        pytest.skip("a queue of usual length is missing: install fs.inotify.max_queued_events=16384")
    for number in range(held // 2 + 2):
        (tmp_path / "a").write_text("")
        (tmp_path / "a").rename(tmp_path / f"b{number % 2}")
    (tmp_path / "last").write_text("")
    for _ in range(3):
        assert set(listings.names(str(tmp_path))) == set(os.listdir(tmp_path)) == {"b0", "b1", "last"}


def test_a_header_that_comes_between_objects_shadows_the_next_units(tmp_path: Path, told: bool) -> None:
    """Each unit's object changes the directory; the header that comes with one of them is seen all the same."""
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "a.h").write_text("")
    (tmp_path / "x.c").write_text('#include <a.h>\n#include "b.h"\n')
    search = SearchPath((), (str(tmp_path), str(tmp_path / "include")), ())
    seen = Headers()

    def found() -> list[str]:
        closure = seen.closure(str(tmp_path / "x.c"), (), str(tmp_path), search)
        return sorted(os.path.relpath(header.path, tmp_path) for header in closure.files[1:])

    def deliver(number: int) -> None:
        (tmp_path / f".u{number}.o").write_text("")
        (tmp_path / f".u{number}.o").rename(tmp_path / f"u{number}.o")

    for number in range(5):
        deliver(number)
        assert found() == ["include/a.h"]
    (tmp_path / "b.h").write_text("")
    deliver(5)
    assert found() == ["b.h", "include/a.h"]
    (tmp_path / "new.h").write_text("")
    (tmp_path / "new.h").rename(tmp_path / "a.h")
    assert found() == ["a.h", "b.h"]
    (tmp_path / "a.h").unlink()
    deliver(6)
    assert found() == ["b.h", "include/a.h"]
    (tmp_path / "b.h").rename(tmp_path / "include" / "b.h")
    assert found() == ["include/a.h", "include/b.h"]


@pytest.mark.parametrize("busy", [True, False])
def test_a_directory_that_comes_where_headers_were_looked_for_is_searched(
    tmp_path: Path, told: bool, busy: bool
) -> None:
    (tmp_path / "far" / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "far" / "sub" / "deep" / "a.h").write_text("")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "x.c").write_text('#include "sub/deep/a.h"\n')
    search = SearchPath((), (str(tmp_path / "far"),), ())
    seen = Headers()

    def found() -> list[str]:
        if busy:
            (tmp_path / "tree" / "u.o").unlink(missing_ok=True)
            (tmp_path / "tree" / "u.o").write_text("")
        closure = seen.closure(str(tmp_path / "tree" / "x.c"), (), str(tmp_path / "tree"), search)
        return sorted(os.path.relpath(header.path, tmp_path) for header in closure.files[1:])

    for _ in range(4):
        assert found() == ["far/sub/deep/a.h"]
    (tmp_path / "tree" / "sub").mkdir()
    assert found() == ["far/sub/deep/a.h"]
    (tmp_path / "far" / "sub" / "deep").rename(tmp_path / "tree" / "sub" / "deep")
    assert found() == ["tree/sub/deep/a.h"]
    (tmp_path / "tree" / "sub").rename(tmp_path / "far" / "sub" / "again")
    (tmp_path / "far" / "sub" / "again" / "deep").rename(tmp_path / "far" / "sub" / "deep")
    assert found() == ["far/sub/deep/a.h"]
    (tmp_path / "tree" / "sub").symlink_to("../far/sub")
    assert found() == ["tree/sub/deep/a.h"]
