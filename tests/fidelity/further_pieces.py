"""Fragments that an adversary thought of: sources in pipes, odd drivers and wrappers, scripts, names met twice.

As `pieces`; each stands in a directory of its own.  It runs nothing.
"""

from __future__ import annotations

import random
from dataclasses import replace

from tests.fidelity.pieces import Piece, c_source, inside, piece


def _one_by_one(p: str, rng: random.Random, forms: tuple[str, ...], **more: str) -> Piece:
    """Up to three of the forms, each for an object of its own, one after the other."""
    chosen = rng.sample(forms, rng.randint(1, 3))
    names = [f"u{number}" for number in range(len(chosen))]
    text = f"SHELL = /bin/bash\n.NOTPARALLEL:\nall: {' '.join(f'{name}.o' for name in names)}\n"
    text += "".join(f"{name}.o: {name}.c\n\t{form}\n" for name, form in zip(names, chosen, strict=True))
    files = {f"{name}.c": "#ifdef X\nstatic int warned;\n#endif\n" + c_source(name, rng) for name in names}
    return inside(p, text, files | more, outputs=("u0.o",))


@piece
def streams(p: str, rng: random.Random) -> Piece:
    """Sources and headers that come through a pipe and can be read once; gcc itself waits where it would show a line.

    So no source of its is edited or broken.
    """
    forms = (
        "echo '#define X 3' | $(CC) -include /dev/stdin -Wall -c $< -o $@",
        "echo '#define X 3' | $(CC) -imacros /proc/self/fd/0 -Wall -c $< -o $@",
        "$(CC) -include <(echo '#define X 3') -Wall -c $< -o $@",
        "ln -sf /dev/stdin in.h; echo '#define X 3' | $(CC) -include in.h -Wall -c $< -o $@",
        "echo '#define X 3' | $(CC) -DFROM='\"/dev/fd/0\"' -Wall -c from.c -o $@",
        "echo '-DX' | $(CC) @/dev/stdin -Wall -c $< -o $@ 2> $@.err; $(CC) -c $< -o $@",
        "rm -f pipe; mkfifo pipe; cat $< > pipe & $(CC) -w -x c -c pipe -o $@; wait; rm -f pipe",
        "rm -f in-$<; mkfifo in-$<; cat $< > in-$< & $(CC) -w -c in-$< -o $@; wait; rm -f in-$<",
        "rm -f pipe; mkfifo pipe; cat pipe > $@.s & $(CC) -S $< -o pipe; wait; rm -f pipe; $(CC) -c $@.s -o $@",
        "$(CC) -xc -c /dev/fd/3 -o $@ 3< $<",
        "rm -f x.fifo; mkfifo x.fifo; echo '#define X 3' > x.fifo & $(CC) -include x.fifo -c $< -o $@; wait; rm x.fifo",
    )
    whole = _one_by_one(p, rng, forms, **{"from.c": "#include FROM\nint x = X;\n"})
    return replace(whole, sources=())


@piece
def drivers(p: str, rng: random.Random) -> Piece:
    """Drivers of one language that compile another, odd preprocessing, wrappers that other pieces lack."""
    forms = (
        "g++ -x c -c $< -o $@",
        "g++ -x c $< -c -o $@ -Wall",
        "gcc -x c++ -c $< -o $@",
        "c++ -fpermissive -c $< -o $@",
        "cpp $< -o $@.i; $(CC) -c $@.i -o $@",
        "$(CC) -fpreprocessed -c $< -o $@",
        "$(CC) -E -fdirectives-only $< -o $@.i && $(CC) -fpreprocessed -fdirectives-only -c $@.i -o $@",
        "$(CC) -no-integrated-cpp -c $< -o $@",
        "$(CC) -wrapper env,A=1 -c $< -o $@",
        "$(CC) -Wp,-DX=1,-DY=2 -Wall -c $< -o $@",
        "$(CC) -Xpreprocessor -DX -Xassembler -L -c $< -o $@",
        "echo '*cpp_options:' > specs; echo '+ -DX' >> specs; $(CC) -specs=specs -Wall -c $< -o $@",
        "echo '-O1 @$@.2' > $@.1; echo '-c -DX -Wall' > $@.2; $(CC) @$@.1 -o $@ $<",
        "SUNPRO_DEPENDENCIES='$@.d $@' $(CC) -c $< -o $@",
        "GCC_EXEC_PREFIX= $(CC) -c $< -o $@ || /usr/bin/gcc -c $< -o $@",
        "flock lock env -S '$(CC) -c' $< -o $@",
        "stdbuf -oL taskset 1 ionice -c 3 chrt -o 0 $(CC) -c $< -o $@",
        "setarch -R prlimit --nofile=100 $(CC) -c $< -o $@",
        "script -qec '$(CC) -c $< -o $@' /dev/null",
        "coproc $(CC) -c $< -o $@; wait",
        "$(CC) -M -MF $@.d $<; mkdir -p dep/x; $(CC) -c $< -o $@ -MMD -MF dep/x/$*.d -MT 'a b' -MQ 'c d'",
        "$(CC) -c -Wa,--defsym,Y=1 -fexec-charset=UTF-16 -finput-charset=latin1 $< -o $@",
        "printf '??=ifdef A\\n??=include \"no.h\"\\n??=endif\\nint t??(3??);\\n' > $@.c; "
        "$(CC) -std=c99 -Wall -c $@.c -o $@",
    )
    return _one_by_one(p, rng, forms)


@piece
def scripts(p: str, rng: random.Random) -> Piece:
    """A recipe that only starts a script, which compiles and calls make by names of its own."""
    call = rng.choice(
        (
            "./bin/wrap",
            "+./bin/wrap",
            "sh bin/wrap",
            "MAKE='$(MAKE)' bash -e bin/wrap",
            "env -i PATH=/usr/bin:/bin ./bin/wrap",
            "cat bin/wrap | sh",
            'sh -c "`cat bin/wrap`"',
            ". ./bin/wrap",
            "MAKEFLAGS= exec ./bin/wrap",
            "(./bin/wrap) & wait",
            "python3 build.py",
            "perl build.pl",
        )
    )
    shell = (
        "#!/bin/sh\nset -e\nmkdir -p out\nfor s in a b; do\n  ${CC-cc} -c $s.c -o out/$s.o\ndone\n"
        "${MAKE:-make} -C sub\nar rcs out/lib.a out/a.o out/b.o\n"
    )
    python = (
        "import os, subprocess as s\nfrom concurrent.futures import ThreadPoolExecutor as T\n"
        "with T(3) as t: list(t.map(lambda n: s.check_call(['cc', '-c', n + '.c', '-o', n + '.o']), 'ab'))\n"
        "os.system('make -C sub')\n"
    )
    perl = (
        "for (qw(a b)) { if (!fork) { exec 'gcc', '-c', \"$_.c\" } } wait; wait;\n"
        "exit(system('make', '-C', 'sub') >> 8);\n"
    )
    files = {f"{name}.c": c_source(name, rng) for name in "ab"} | {"sub/c.c": c_source("c", rng)}
    files |= {"bin/wrap": shell, "build.py": python, "build.pl": perl, "sub/Makefile": "all: c.o\n"}
    return inside(p, f"all:\n\t{call}\n.PHONY: all\n", files, outputs=("sub/c.o",))


@piece
def looked_up(p: str, rng: random.Random) -> Piece:
    """GPATH, times of long ago, what is intermediate and what not, functions with side effects, MAKEFILES."""
    compile_it = "%.o: %.c\n\t$(CC) $(CFLAGS) $(EXTRA) -c $< -o $@\n"
    generated = "%.c: %.in\n\tcp $< $@\n%.bin: %.o\n\tcp $< $@\n"
    text = rng.choice(
        (
            f"GPATH = src\nVPATH = src\nall: a.o b.o\n{compile_it}",
            f".NOTINTERMEDIATE: %.c\nall: g.bin\n{generated}{compile_it}",
            f".SECONDARY:\nall: g.bin\n{generated}{compile_it}",
            f".NOTINTERMEDIATE:\nall: g.bin\n{generated}{compile_it}",
            f"all: a.o b.o\nvpath %.c src\n{compile_it}\ttouch -d 2001-01-01 $@\n",
            f"all: sum\nsum: a.o b.o\n\tcat $^ > $@\n\tfind . -newer $< -name 'sum'\nvpath %.c src\n{compile_it}"
            "\ttest $@ -nt $< && stat -c '%a %h' $@\n",
            f"EXTRA = $(shell echo x >> log; echo -DX) $(file >>log,$@)\nall: a.o b.o\nvpath %.c src\n{compile_it}",
            f"EXTRA != echo z >> log; echo -DZ\n.NOTPARALLEL:\nall: a.o b.o\nvpath %.c src\n{compile_it}",
            "all:\n\tMAKEFILES=pre.mk $(MAKE) -f inner.mk a.o b.o\n",
            "define TXT\n# Files\n# Not a target:\nb.o: c.c\n# Implicit Rules\nendef\nexport TXT\nall: a.o b.o\n"
            f'vpath %.c src\n{compile_it}\techo "$$TXT" > $@.txt\n',
            "a.o: export CONF = 7\nb.o: export CONF := 8\nEXTRA = `sh ask`\nall: a.o b.o\nvpath %.c src\n" + compile_it,
            "all: src/a.o out\nsrc/a.o:: src/a.c\n\t$(CC) -c $< -o $@\nsrc/a.o:: src/b.c\n\t$(CC) -c $< -o $@\n"
            "out: src/a.o\n\tcp $< $@\n",
        )
    )
    files = {f"src/{name}.c": c_source(name, rng) for name in "ab"} | {"g.in": c_source("g", rng)}
    files |= {"pre.mk": "EXTRA += -DPRE\n", "inner.mk": f"vpath %.c src\n{compile_it}"}
    files |= {"ask": "echo -DCONF=${CONF:-none}\n"}
    return inside(p, text, files, outputs=("a.o", "g.bin"))


@piece
def names_met_twice(p: str, rng: random.Random) -> Piece:
    """Modules of one name in two directories, one form's text under the other's suffix, nested INCLUDE lines."""
    rules = rng.choice(
        (
            "%.o: %.f90\n\tgfortran -J$(@D) -c $< -o $@\n",
            "%.o: %.f90\n\tcd $(@D) && gfortran -c $(<F)\n",
            "one/%.o: FF = -Jone -Itwo\ntwo/%.o: FF = -Jtwo -Ione\n%.o: %.f90\n\tgfortran $(FF) -c $< -o $@\n",
        )
    )
    text = (
        f"all: one/u.o two/u.o free.o fixed.o nested.o\none/u.o: one/m.o\ntwo/u.o: two/m.o\n{rules}"
        "free.o: free.f\n\tgfortran -ffree-form -c $<\nfixed.o: fixed.f90\n\tgfortran -ffixed-form -c $< -o $@\n"
        "nested.o: nested.F90\n\tgfortran -cpp -Iinc -Ideep -c $<\n"
    )
    one, two = (
        f"module m\n integer, parameter :: k = {rng.randrange(99)}{extra}\nend module\n" for extra in ("", ", l = 2")
    )
    user = "subroutine u(x)\n use m\n integer x\n x = x + k\nend subroutine\n"
    files = {
        **{"one/m.f90": one, "two/m.f90": two, "one/u.f90": user, "two/u.f90": user},
        "free.f": "subroutine free(x)\ninteger x ! a comment\nx = x &\n + 1\nend subroutine\n",
        "fixed.f90": "      SUBROUTINE FIXED(X)\n      INTEGER X\n      X = X\n     & + 1\n      END\n",
        "nested.F90": "module nested\ncontains\ninclude 'x.inc'\n#include \"y.inc\"\nend module\n",
        "inc/x.inc": "include 'y.inc'\nsubroutine x\nend subroutine\n",
        "deep/y.inc": "#ifndef Y\n#define Y\n#endif\n" if rng.random() < 0.2 else "",
    }
    return inside(p, text, files, outputs=("one/u.o", "two/m.o"))
