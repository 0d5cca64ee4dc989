"""Sources with known definitions, rendered in random form, against the scanner and against the real gfortran."""

from __future__ import annotations

import random
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from buildfarm.graph.fortran import NOTHING, LineRules, Submodule, scan
from buildfarm.graph.fortranglance import may_tell
from tests.farm import PATIENCE

NAMES = [
    "alpha",
    "m_2",
    "useful",
    "module_x",
    "procedures",
    "subroutines",
    "endgame",
    "interfaces",
    "includes",
    "c",
]


@dataclass
class Source:
    """A program: its statements, and what a scanner must find in them."""

    statements: list[str] = field(default_factory=list)
    defines: list[str] = field(default_factory=list)
    uses: list[str] = field(default_factory=list)
    intrinsic_uses: list[str] = field(default_factory=list)
    submodules: list[Submodule] = field(default_factory=list)
    separate: list[str] = field(default_factory=list)


def distractors(rng: random.Random) -> list[str]:
    """Declarations and statements that look like what they are not."""
    return [
        "integer :: module, use(3), interface, include, submodule, end_module",
        *rng.sample(
            [
                "module = 3",
                "use(1) = 2",
                "interface = module + use(2)",
                "print *, 'module fake', \"use fake; end\"",
                "print *, \"it's\", 'a \"! b'",
                "include = interface",
                "submodule = 4",
                "if (module == 3) use(2) = 1",
            ],
            rng.randint(0, 8),
        ),
    ]


def make_source(rng: random.Random) -> Source:
    source = Source()
    add = source.statements.append
    for number, name in enumerate(rng.sample(NAMES, rng.randint(1, 5))):
        add(f"module {name}")
        for used in rng.sample(source.defines, rng.randint(0, len(source.defines))):
            add(rng.choice(["use {}", "use :: {}", "use, non_intrinsic :: {}", "use {}, only:"]).format(used))
            source.uses.append(used)
        if rng.random() < 0.3:
            add("use, intrinsic :: iso_c_binding, only: c_int")
            source.intrinsic_uses.append("iso_c_binding")
        add("implicit none")
        source.defines.append(name)
        separate = rng.random() < 0.4
        if separate:
            source.separate.append(name)
            prefix = rng.choice(["", "recursive "])
            source.statements += ["interface", f"{prefix}module subroutine sep{number}()"]
            source.statements += ["end subroutine", "end interface"]
        if rng.random() < 0.5:
            source.statements += [f"interface gen{number}", f"module procedure sub{number}", "end interface"]
        source.statements += ["contains", f"subroutine sub{number}()", *distractors(rng), "end subroutine"]
        ends = ["end module", f"end module {name}"]
        add(rng.choice(ends if separate else ["end", *ends]))
        if separate:
            source.submodules.append(Submodule(name, None, f"child{number}"))
            source.statements += [
                f"submodule ({name}) child{number}",
                "contains",
                f"module procedure sep{number}",
            ]
            source.statements += [*distractors(rng), "end procedure", "end submodule"]
            source.submodules.append(Submodule(name, f"child{number}", f"grandchild{number}"))
            source.statements += [f"submodule ({name}:child{number}) grandchild{number}", "end submodule"]
    return source


def randomcase(text: str, rng: random.Random) -> str:
    return "".join(char.upper() if rng.random() < 0.5 else char for char in text)


def quoted_positions(text: str) -> set[int]:
    """Indices of the characters inside character constants, their opening quotes excepted."""
    inside: set[int] = set()
    quote = ""
    for index, char in enumerate(text):
        if quote:
            inside.add(index)
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
    return inside


def noise(rng: random.Random, comments: list[str]) -> list[str]:
    return [rng.choice([*comments, "", '# 3 "fake.f90"'])] if rng.random() < 0.2 else []


def render_free(source: Source, rng: random.Random) -> str:
    lines: list[str] = []
    line = ""
    for original in source.statements:
        statement = randomcase(original, rng)
        if rng.random() < 0.3 and len(statement) > 2:
            at = rng.randrange(1, len(statement))
            between = ["! module fake & ", "  ! it's"] if rng.random() < 0.3 else []
            pieces = [f"{line}{statement[:at]}&", *between, f"{' ' * rng.randrange(4)}&{statement[at:]}"]
            lines += pieces[:-1]
            line = pieces[-1]
        else:
            line += statement
        if rng.random() < 0.3 and len(line) < 40:
            line += rng.choice([";", " ; ", ";; "])
            continue
        lines.append(" " * rng.randrange(5) + line + rng.choice(["", "", " ! module fake", "!'", "  "]))
        lines += noise(rng, ["! module fake", "   !use fake &", "!$ use fake"])
        line = ""
    if line:
        lines.append(line)
    return "\n".join(lines) + rng.choice(["\n", ""])


def render_fixed(source: Source, rng: random.Random) -> str:
    lines: list[str] = []
    for original in source.statements:
        statement = randomcase(original, rng)
        inside = quoted_positions(statement)
        spaced: list[tuple[str, bool]] = []  # (character, a line may break before it)
        for index, char in enumerate(statement):
            free = index not in inside
            if free and rng.random() < 0.15:
                spaced.append((" ", True))
            if char != " " or not free or rng.random() < 0.5:
                spaced.append((char, free))
        chunks = [""]
        for char, breakable in spaced:
            full = len(chunks[-1]) > 30 or rng.random() < 0.05
            if breakable and full and chunks[-1].strip():
                chunks.append("")
            chunks[-1] += char
        tabs = rng.random() < 0.2
        for index, chunk in enumerate(chunks):
            start = ("\t" if tabs else "      ") if index == 0 else "\t1" if tabs else f"     {rng.choice('1&x+')}"
            lines.append(start + chunk + rng.choice(["", "", "  ! module fake", " !'"]))
            lines += noise(rng, ["c module fake", "* it's", "!     module fake", "   ! use fake", "D     use fake"])
    return "\n".join(lines) + "\n"


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), free_form=st.booleans())
def test_whatever_the_form_the_scanner_finds_what_was_put_in(seed: int, free_form: bool) -> None:
    rng = random.Random(seed)
    source = make_source(rng)
    text = render_free(source, rng) if free_form else render_fixed(source, rng)
    found = scan(text, free_form=free_form)
    assert found.defines == tuple(source.defines)
    assert found.uses == tuple(dict.fromkeys(source.uses))
    assert found.intrinsic_uses == tuple(dict.fromkeys(source.intrinsic_uses))
    assert found.submodules == tuple(source.submodules)
    assert found.separate_procedures == tuple(source.separate)
    assert found.includes == () and found.cpp_includes == ()


@pytest.mark.skipif(shutil.which("gfortran") is None, reason="gfortran is missing: install it")
@pytest.mark.parametrize("free_form", [True, False])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_gfortran_writes_the_module_files_foretold(
    free_form: bool, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = random.Random(seed)
    directory = tmp_path_factory.mktemp("modules")
    source = make_source(rng)
    text = render_free(source, rng) if free_form else render_fixed(source, rng)
    name = "a.f90" if free_form else "a.f"
    (directory / name).write_text(text)
    check(directory, name, text, free_form)


def check(directory: Path, name: str, text: str, free_form: bool) -> None:
    run = subprocess.run(
        ["gfortran", "-w", "-fd-lines-as-comments", "-fsyntax-only", name],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert run.returncode == 0, run.stderr + text
    written = {path.name for path in directory.iterdir()} - {name}
    found = scan(text, free_form=free_form)
    assert {file for file in written if file.endswith(".mod")} == {f"{module}.mod" for module in found.defines}
    assert set(found.module_files) <= written <= set(found.possible_module_files)


@pytest.mark.skipif(shutil.which("gfortran") is None, reason="gfortran is missing: install it")
def test_a_used_separate_procedure_makes_gfortran_write_a_smod(tmp_path: Path) -> None:
    text = (
        "module m\n integer, parameter :: k = 1\n interface\n  module subroutine s\n  end subroutine\n"
        " end interface\nend module\nmodule takes\n use m\nend module\nmodule part\n use m, only: k\nend module\n"
    )
    (tmp_path / "a.f90").write_text(text)
    check(tmp_path, "a.f90", text, True)
    assert (tmp_path / "takes.smod").exists() and not (tmp_path / "part.smod").exists()


_PIECES = st.sampled_from(
    [
        *("use", "module", "submodule", "include", "u", "us", "e", "mod", "ule", "sub", "inc", "lude", "USE", "Module"),
        *(
            "\n",
            "\n",
            "\n      ",
            "\n     &",
            "\n     1",
            "\n\t",
            "\n\t1",
            "\n10 ",
            "\n10",
            "\n     0",
            "\n     +",
            "\n!$ ",
            "\nc$   ",
            "\nd",
            "\nc",
            "\n!",
            "\n*",
        ),
        *(
            ";",
            "&",
            "&\n",
            "&\n  &",
            "!",
            " ",
            "  ",
            "\t",
            "\r",
            " a",
            "x = 1",
            "'s'",
            '"q"',
            "'",
            "(m)",
            ", only: b",
            "\n#include",
            "\n# 1",
        ),
        *(" " * 60, " " * 66, "\n" + " " * 65, "end", "contains", "interface", "procedure", "function f"),
    ]
)


def _has_label_of_letters(line: str) -> bool:
    """Whether the first columns of a fixed-form line hold what gfortran refuses."""
    if line[:1] in ("c", "C", "*", "!", "#") and line[1:2] != "$":
        return False
    head = line.partition("\t")[0][:5]
    head = head.removeprefix(line[:2]) if line[1:2] == "$" else head.removeprefix("d")
    return head.strip(" 0123456789\r") != "" and not head.lstrip().startswith("!")


@given(
    st.lists(_PIECES, max_size=30).map("".join),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0, 72, 132]),
)
@settings(max_examples=500, deadline=None)
def test_a_text_with_nothing_to_tell_at_a_glance_has_nothing_to_tell(
    text: str, free_form: bool, openmp: bool, d_lines: bool, length: int
) -> None:
    assume(free_form or not any(map(_has_label_of_letters, text.split("\n"))))  # gfortran refuses them
    if not free_form:
        text = f"      x = 1\n{text}"  # and a text that begins with a continuation line
    rules = LineRules(openmp=openmp, line_length=length, d_lines=d_lines)
    if not may_tell(text, free_form=free_form, line_length=length):
        with patch("buildfarm.graph.fortran.may_tell", return_value=True):
            assert scan(text, free_form=free_form, rules=rules) == NOTHING


@pytest.mark.parametrize(
    "text",
    [
        "10\n     +module foo\n      end module\n",
        "10    ! labelled\n     +module foo\n      end module\n",
        "10\n! labelled\n     +module foo\n      end module\n",
        "     0\n     +module foo\n      end module\n",
        "10\n     +\n     +mod\n     +ule foo\n      end module\n",
        "!$   0\n!$   +module foo\n!$    end module\n",
    ],
)
def test_a_statement_that_begins_in_a_continuation_line_is_seen(text: str) -> None:
    assert may_tell(text, free_form=False, line_length=72)
    assert scan(text, free_form=False, rules=LineRules(openmp=True, line_length=72)).defines == ("foo",)


def test_a_glance_is_enough_for_the_code_of_old() -> None:
    text = "*> is documented; use it\n      SUBROUTINE S(MODULUS)\n      MOD = 1\n     $  + U\n      END\n"
    assert not may_tell(text, free_form=False, line_length=72)
    assert may_tell(text.replace("*>", "      x ="), free_form=False, line_length=72)
