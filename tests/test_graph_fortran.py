"""What the Fortran scanner finds in single texts, and that it is linear and never raises."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.graph.fortran import FortranScan, LineRules, Submodule, line_rules, scan
from buildfarm.graph.fortranlines import DEFAULT_RULES


def free(text: str, rules: LineRules = DEFAULT_RULES) -> FortranScan:
    return scan(text, free_form=True, rules=rules)


def fixed(text: str, rules: LineRules = DEFAULT_RULES) -> FortranScan:
    return scan(text, free_form=False, rules=rules)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("module m1\nend", ("m1",)),
        ("  MODULE Foo_2 ! comment\nend module", ("foo_2",)),
        ("module a; end; module b", ("a", "b")),
        (" ; module a", ("a",)),
        ("modulefoo", ("foo",)),
        ("10 module a", ("a",)),
        ("mod&\n&ule a", ("a",)),
        ("module &\n! no & \n\n# 1 \"x\"\n a", ("a",)),
        ("module &  ! and so on\n  &a\r\n", ("a",)),
        ("\ufeffmodule a", ("a",)),
        ("module procedure\nend", ("procedure",)),
        ("interface g\n module procedure s\n moduleprocedure t\nend interface", ()),
        ("interface\nmodule subroutine s()\nend\nend interface", ()),
        ("module = 3", ()),
        ("module%x = 3", ()),
        ("module(1) = 3", ()),
        ("end module m", ()),
        ("! module a\n!$ module b", ()),
        ("print *, 'x &\n & module a'\nprint *, \"module b\"", ()),
        ("print *, 'it''s; module a'; module b", ("b",)),
        ("print *, 'open\nmodule a", ("a",)),
        ("x = '&\n!\n&; module a'\nmodule b", ("b",)),
        ("# define x module y \\\nmodule a\nmodule b", ("b",)),
        ("submodule (a) b", ()),
        ("call module a", ()),
    ],
)  # fmt: skip
def test_modules_of_free_form(text: str, names: tuple[str, ...]) -> None:
    assert free(text).defines == names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("      module m1\n      end", ("m1",)),
        ("      M O D U L E  X Y", ("xy",)),
        ("      modulesubroutines\n      end\n      modulefunctions", ("subroutines", "functions")),
        ("      mod\n     &ulem2;end;module m3", ("m2", "m3")),
        ("      mod\nc comment\n* comment\nD comment\n\n     1ule a", ("a",)),
        ("      module a\n     0module b", ("a", "b")),
        ("\tmodule \n\t1m1\n\tend module", ("m1",)),
        ("   10\tmodule a", ("a",)),
        (" 10   module a", ("a",)),
        ("      module a ! b\n     &c", ("ac",)),
        (f"      module a{' ' * 57}BCDEF", ("ab",)),
        ("   ! module a\nc module b\nC module c\n* module d\nd module e\n!     module f", ()),
        ("c$    module a\n!$    module b", ()),
        ("      module = 3\n      module(3) = 4\n      mod ule % x = 3", ()),
        ("      interface\n      module procedure s\n      end interface", ()),
        ("      x = 'a\n     &;module b'", ()),
        ("      x = 'a\n      module b", ("b",)),
        ("# 1 'x'\n      module a\r\n      end\r\n", ("a",)),
    ],
)
def test_modules_of_fixed_form(text: str, names: tuple[str, ...]) -> None:
    assert fixed(text).defines == names


def test_fixed_lines_end_where_the_options_say() -> None:
    text = f"      module a{' ' * 57}BCDEF"
    for option in ("-ffixed-line-length-132", "-ffixed-line-length-none", "-ffixed-line-length-0"):
        assert fixed(text, line_rules(["-O2", option])).defines == ("abcdef",)


def test_options_make_the_line_rules() -> None:
    assert line_rules(["-O2"]) == LineRules(openmp=False, line_length=72, d_lines=False)
    assert line_rules(["-ffixed-line-length-132", "-fopenmp"]) == LineRules(openmp=True, line_length=132)
    assert line_rules(["-fopenmp", "-fno-fixed-line-length", "-fno-openmp"]) == LineRules(line_length=0)


def test_d_lines_are_code_when_asked_for() -> None:
    text = "d     module a\n      end\n"
    assert fixed(text).defines == ()
    assert fixed(text, line_rules(["-fd-lines-as-code"])).defines == ("a",)


def test_openmp_sentinels_are_code_when_asked_for() -> None:
    text = "module m\n!$ use omp&\n!$ &_lib\n!$omp parallel\n !$ use b\n"
    assert free(text, LineRules(openmp=True)).uses == ("omp_lib", "b")
    assert free(text).uses == ()
    text = "c$    use omp\n!$   &_lib\n!$omp parallel\n*$    use b\n"
    assert fixed(text, LineRules(openmp=True)).uses == ("omp_lib", "b")
    assert fixed(text).uses == ()


@pytest.mark.parametrize(
    ("statement", "uses", "intrinsic"),
    [
        ("use a", ("a",), ()),
        ("USE A, only: b", ("a",), ()),
        ("use a,b=>c", ("a",), ()),
        ("use :: a", ("a",), ()),
        ("use::a, only: x", ("a",), ()),
        ("use, intrinsic :: iso_c_binding", (), ("iso_c_binding",)),
        ("use,non_intrinsic::a", ("a",), ()),
        ("use iso_fortran_env, only: real64", ("iso_fortran_env",), ()),
        ("use(1) = 2", (), ()),
        ("use = 2", (), ()),
        ("use%x = 2", (), ()),
        ("user = 2", (), ()),
        ("x = use + 1", (), ()),
    ],
)
def test_uses_of_both_forms(statement: str, uses: tuple[str, ...], intrinsic: tuple[str, ...]) -> None:
    for found in (free(statement), fixed(f"      {statement}")):
        assert (found.uses, found.intrinsic_uses) == (uses, intrinsic)


def test_a_name_that_begins_like_use_is_no_use_in_free_form_but_is_in_fixed() -> None:
    assert free("usem1").uses == ()
    assert fixed("      usem1").uses == ("m1",)


def test_includes_of_both_kinds_keep_their_case() -> None:
    text = '#include "A.h"\n#  include <b.inc>\ninclude \'Sub/C.inc\' ! c\ninclude "d e"\n10 include = 3\n'
    found = free(text)
    assert (found.includes, found.cpp_includes) == (("Sub/C.inc", "d e"), ("A.h", "b.inc"))
    found = fixed("#include \"A.h\"\n      include 'My File.inc'\n")
    assert (found.includes, found.cpp_includes) == (("My File.inc",), ("A.h",))


def test_submodules_name_the_files_that_they_read_and_write() -> None:
    text = "submodule (Anc) s1\nend\nsubmodule(anc:s1)s2\nend submodule\nsubmodule (other : p) x\nend\n"
    found = free(text)
    assert found.submodules == (
        Submodule("anc", None, "s1"),
        Submodule("anc", "s1", "s2"),
        Submodule("other", "p", "x"),
    )
    assert found.module_files == ("anc@s1.smod", "anc@s2.smod", "other@x.smod")
    assert found.needed_submodule_files == ("anc.smod", "other@p.smod")
    assert fixed("      sub module (a:b) c").submodules == (Submodule("a", "b", "c"),)


@pytest.mark.parametrize(
    ("body", "separate"),
    [
        ("interface\n module subroutine s\n end\nend interface", True),
        ("interface\n pure module function f(x) result(r)\n end\nend interface", True),
        ("interface\n integer(kind=4) module function f(x)\n end\nend interface", True),
        ("interface\n module integer function f(x)\n end\nend interface", True),
        ("interface g\n module procedure s\nend interface", False),
        ("interface operator(+)\n module procedure s\nend interface", False),
        ("interface\n subroutine s\n end\nend interface", False),
        ("contains\nsubroutine s\ninterface = 3\nend", False),
    ],
)
def test_separate_module_procedures_are_known_by_their_interface(body: str, separate: bool) -> None:
    text = f"module m\n{body}\nend module m\n"
    indented = "".join(f"      {line}\n" for line in text.splitlines())
    for found in (free(text), fixed(indented)):
        assert found.defines == ("m",)
        assert found.module_files == (("m.mod", "m.smod") if separate else ("m.mod",))


def test_implementations_of_separate_procedures_are_no_modules() -> None:
    text = (
        "module m\ninterface\nmodule subroutine s\nend\nmodule subroutine t\nend\nend interface\n"
        "contains\nmodule subroutine s\nend\nmodule procedure t\nend procedure\nend module\n"
        "submodule (m) n\ncontains\nmodule procedure u\nend\nend submodule\nmodule procedures\nend\n"
    )
    indented = "".join(f"      {line}\n" for line in text.splitlines())
    for found in (free(text), fixed(indented)):
        assert found.defines == ("m", "procedures")


def test_modules_used_may_bring_in_a_smod() -> None:
    found = free("module a\nend\nmodule b\nuse c\nuse a\nend\n")
    assert found.module_files == ("a.mod", "b.mod")
    assert found.possible_module_files == ("a.mod", "b.mod", "a.smod", "b.smod")
    assert found.needed_modules == ("c",)


@given(st.text(st.sampled_from("mM odule\n\r\t&!'\";#*c$1() :,="), max_size=200), st.booleans(), st.booleans())
def test_no_text_is_an_error(text: str, free_form: bool, openmp: bool) -> None:
    scan(text, free_form=free_form, rules=LineRules(openmp=openmp))


@pytest.mark.parametrize("free_form", [True, False])
@pytest.mark.parametrize(
    "piece",
    ["'", '"&\n', "&\n", "& ", ";", "module a ", "interface\n", "use ", "      x = 1 + y * 'abc' ! z\n",
     "      call s(a, &\n     &b)\n", "!", "# \\\n", "     &x", "(", "submodule ( a "],
)  # fmt: skip
def test_the_time_is_linear_whatever_the_text(piece: str, free_form: bool) -> None:
    def least(size: int) -> float:
        """Seconds of processor time: what a text of this size costs when nobody disturbs it."""
        text = "interface\n      " + piece * (size // len(piece))
        spent = []
        for _ in range(3):
            start = time.process_time()
            scan(text, free_form=free_form)
            spent.append(time.process_time() - start)
        return min(spent)

    assert least(400_000) < 40 * least(40_000), "ten times the text"
