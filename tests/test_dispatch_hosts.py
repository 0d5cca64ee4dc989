"""distcc's host lists, as distcc reads them; and what it lets pass in silence is told with its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.dispatch.hosts import HostList, parse
from buildfarm.errors import ConfigError
from buildfarm.model import Node


def _node(text: str) -> Node:
    (node,) = parse(text, "test").nodes
    return node


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("pi3", Node("pi3", 3632, 4)),
        ("10.168.168.41/8,lzo,cpp", Node("10.168.168.41", 3632, 8, lzo=True, cpp=True)),
        ("pi3:4200", Node("pi3", 4200, 4)),
        ("pi3:4200/6,lzo", Node("pi3", 4200, 6, lzo=True)),
        ("pi3/6:4200,lzo", Node("pi3", 4200, 6, lzo=True)),
        ("node-1.farm_a.example.org.", Node("node-1.farm_a.example.org.")),
        ("localhost:3632/2", Node("localhost", 3632, 2)),
        ("127.0.0.1/3", Node("127.0.0.1", 3632, 3)),
        ("[::1]:3632/4", Node("::1", 3632, 4)),
        ("[fd00::1]", Node("fd00::1")),
        ("[fe80::1%eth0]/2,lzo", Node("fe80::1%eth0", 3632, 2, lzo=True)),
        ("@pi3", Node("pi3", ssh=True)),
        ("pi@pi3/3,lzo", Node("pi3", slots=3, lzo=True, ssh=True, user="pi")),
        ("pi@pi3:/opt/distccd,lzo", Node("pi3", lzo=True, ssh=True, user="pi", command="/opt/distccd")),
    ],
)
def test_an_entry_is_this_node(text: str, node: Node) -> None:
    assert _node(text) == node


def test_the_users_own_list_reads_as_it_is_written() -> None:
    text = """# the farm
    localhost/2  --localslots_cpp=6 --randomize
    10.168.168.41/8,lzo,cpp\t10.168.168.42/8,lzo,cpp# the new one
    pi9/4,down +zeroconf\r\nlast#not/this
    """
    assert parse(text, "hosts") == HostList(
        nodes=(
            Node("10.168.168.41", slots=8, lzo=True, cpp=True),
            Node("10.168.168.42", slots=8, lzo=True, cpp=True),
            Node("last"),
        ),
        local_slots=2,
        local_cpp_slots=6,
        randomize=True,
        zeroconf=True,
    )


def test_an_empty_list_has_no_nodes() -> None:
    assert parse(" # nothing yet\n", "hosts") == HostList()


@pytest.mark.parametrize(
    ("text", "slots"),
    [
        ("localhost", 2),
        ("localhost/5", 5),
        ("--localslots=3", 3),
        ("--localslots/3", 3),
        ("localhost/5 --localslots=3", 5),
        ("pi3", None),
    ],
)
def test_localhost_and_localslots_are_slots_of_this_machine(text: str, slots: int | None) -> None:
    assert parse(text, "hosts").local_slots == slots


def test_a_node_named_twice_has_the_larger_number_of_slots() -> None:
    assert parse("pi3/4,lzo pi4 pi3:3632/8,lzo", "hosts").nodes == (
        Node("pi3", slots=8, lzo=True),
        Node("pi4"),
    )


def test_a_node_named_twice_is_told() -> None:
    assert parse("pi3/4 pi4 pi3/8", "hosts").notes == (
        "hosts: pi3:3632 stands there twice: it counts once, with 8 slots",
    )
    assert parse("pi3/4 pi4", "hosts").notes == ()


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("pi3/0", "column 5", "a number of slots from 1 to 1024"),
        ("pi3/4x", "column 5", "a number of slots"),
        ("pi3/", "column 5", "a number of slots"),
        ("pi3/-1", "column 5", "a number of slots"),
        ("pi3:0", "column 5", "a port from 1 to 65535"),
        ("pi3:99999", "column 5", "a port"),
        ("pi3:ssh", "column 5", "a port"),
        ("pi3/4/4", "column 6", "the form HOST[:PORT]"),
        ("pi3:1:2", "column 1", "an IPv6 address in brackets"),
        ("ok pi3,gzip", "column 8", "one of the options lzo, cpp, down"),
        ("pi3,", "column 5", "one of the options"),
        ("pi3,lzo,lzop", "column 9", "one of the options"),
        ("pi3,auth", "column 5", "GSS-API (auth) is not supported"),
        ("pi3,auth=pi", "column 5", "GSS-API"),
        ("pi3,cpp", "column 1", "lzo beside cpp"),
        ("fd00::1", "column 1", "an IPv6 address in brackets, such as"),
        ("::1", "column 1", "an IPv6 address in brackets"),
        ("[::1", "column 5", "a closing ]"),
        ("[pi3]", "column 2", "an IPv6 address between"),
        ("[::1]x", "column 6", "the form"),
        ("/4", "column 1", "a host name"),
        ("pi$3", "column 1", "a host name"),
        ("a..b", "column 1", "a host name"),
        ("caf\udce9", "column 1", "a host name"),
        ("x" * 64, "column 1", "a host name"),
        ("--slots=4", "column 1", "a host, --localslots=N"),
        ("-pi3", "column 1", "a host, "),
        ("+avahi", "column 1", "or +zeroconf"),
        ("--localslots", "column 13", "--localslots=N"),
        ("--localslots=many", "column 14", "a number of slots"),
        ("--localslots_cpp=0", "column 18", "a number of slots"),
        ("localhost/0", "column 11", "a number of slots"),
        ("pi@", "column 4", "a host name after @"),
        ("p!@pi3", "column 1", "[USER]@HOST"),
        ("pi@pi3:", "column 8", "the remote command"),
        ("pi@pi3/4/5", "column 8", "a number of slots"),
        ("pi3,lzo pi4 pi3", "column 13", "the options of line 1, column 1, where pi3:3632 stands already"),
    ],
)
def test_nonsense_is_told_with_its_place_and_what_was_expected(text: str, place: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "$DISTCC_HOSTS")
    assert caught.value.message.startswith(f"$DISTCC_HOSTS, line 1, {place}: ")
    assert expected in caught.value.message
    assert caught.value.exit_code == 78


def test_the_line_is_told() -> None:
    with pytest.raises(ConfigError, match=r"^/etc/distcc/hosts, line 3, column 7: 'pi4/zero': expected"):
        parse("# ours\npi3\r\n  pi4/zero", "/etc/distcc/hosts")


@given(st.text(alphabet="abp3:/,[]@.#=-+ \n0lzocp%é", max_size=40))
def test_any_text_is_a_list_or_a_configuration_error(text: str) -> None:
    try:
        found = parse(text, "hosts")
    except ConfigError as error:
        assert error.message.startswith("hosts, line ")
    else:
        assert all(1 <= node.slots <= 1024 and 1 <= node.port <= 65535 and node.host for node in found.nodes)


@given(
    st.lists(
        st.builds(
            Node,
            host=st.from_regex(r"[a-z][a-z0-9]{0,8}(\.[a-z]{1,5}){0,2}", fullmatch=True).filter(
                lambda name: name != "localhost"
            ),
            port=st.integers(1, 65535),
            slots=st.integers(1, 1024),
            lzo=st.just(True),
            cpp=st.booleans(),
        ),
        unique_by=lambda node: node.key,
    )
)
def test_what_is_written_is_read_back(nodes: list[Node]) -> None:
    text = " ".join(f"{n.host}:{n.port}/{n.slots},lzo{',cpp' if n.cpp else ''}" for n in nodes)
    assert parse(text, "hosts").nodes == tuple(nodes)
