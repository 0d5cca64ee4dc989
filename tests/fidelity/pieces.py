"""Fragments of make projects, one for each kind of rule, recipe or compiler call that a Makefile may hold.

A piece owns every name that begins with its prefix, so that pieces stand beside each other in one Makefile; those
that need settings for a whole Makefile (.ONESHELL, VPATH, SHELL, ...) bring a directory with one of their own.
It runs nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Piece:
    """Text for the Makefile, files by name, goals; what a second build may touch, edit or find deleted."""

    makefile: str
    goals: tuple[str, ...]
    files: dict[str, str] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    fails: bool = False


Writer = Callable[[str, random.Random], Piece]
WRITERS: dict[str, Writer] = {}


def piece(writer: Writer) -> Writer:
    """Register a writer under its function's name."""
    WRITERS[writer.__name__] = writer
    return writer


def c_source(name: str, rng: random.Random, *, include: str = "", calls: tuple[str, ...] = ()) -> str:
    """A unit that defines int `name`(int); in one of a few manners (macros, warnings, __FILE__, __LINE__)."""
    head = f'#include "{include}"\n' if include else ""
    head += "".join(f"int {call}(int x);\n" for call in calls)
    body = "".join(f"    x += {call}(x);\n" for call in calls)
    match rng.randrange(8):
        case 0:
            body += "    int unused;\n"
        case 1:
            body += "    if (x = 3) x++;\n"
        case 2:
            body += "    return x + (int) sizeof __FILE__ + __LINE__;\n"
        case 3:
            head += "#define TWICE(a) ((a) + \\\n    (a))\n"
            body += "    x = TWICE(x);\n"
        case 4:
            head += "#include <stdio.h>\n"
            body += '    if (x == 77) puts(__FILE__ " \\a");\n'
        case 5:
            head += "#include <stddef.h>\n"
            body += "    return (int) offsetof(struct { char a; int b; }, b) * x;\n"
    return f"{head}int {name}(int x)\n{{\n{body}    return x + {rng.randrange(99)};\n}}\n"


def main_source(*calls: str) -> str:
    """A program that prints what `calls` give."""
    head = "".join(f"int {call}(int x);\n" for call in calls)
    return (
        f"{head}int printf(const char *, ...);\nint main(void)\n{{\n"
        + "".join(f'    printf("%d\\n", {call}(2));\n' for call in calls)
        + "    return 0;\n}\n"
    )


@piece
def explicit(p: str, rng: random.Random) -> Piece:
    names = [f"{p}{letter}" for letter in "abc"[: rng.randint(1, 3)]]
    text = f"{p}prog: {' '.join(f'{n}.o' for n in names)} {p}main.o\n\t$(CC) -o $@ $^\n"
    for n in (*names, f"{p}main"):
        text += f"{n}.o: {n}.c\n\t$(CC) $(CFLAGS) -c {rng.choice(('$< -o $@', '-o $@ $<', '$<'))}\n"
    text += f"{p}out.txt: {p}prog\n\t./{p}prog > $@\n"
    files = {f"{n}.c": c_source(n, rng) for n in names} | {f"{p}main.c": main_source(*names)}
    return Piece(text, (f"{p}out.txt",), files, tuple(files), tuple(f"{n}.o" for n in names))


@piece
def implicit(p: str, rng: random.Random) -> Piece:
    """Built-in rules and archive members; serial, for make's own `ar` calls would race."""
    files = {f"{p}d/{p}a.c": c_source(f"{p}a", rng), f"{p}d/{p}b.cc": f"int {p}b(int x) {{ return x; }}\n"}
    files[f"{p}d/{p}c.S"] = f".globl {p}c\n{p}c:\n#ifdef __x86_64__\n nop\n#endif\n"
    text = f".NOTPARALLEL:\nall: {p}lib.a {p}x\n{p}lib.a: {p}lib.a({p}a.o) {p}lib.a({p}b.o {p}c.o)\n"
    text += f"{p}x: {p}a.o {p}b.o\n\tcat $^ > $@\n"
    makefile = f"{p}all:\n\t@$(MAKE) -C {p}d\n.PHONY: {p}all\n"
    return Piece(makefile, (f"{p}all",), {**files, f"{p}d/Makefile": text}, tuple(files), (f"{p}d/{p}lib.a",))


@piece
def pattern(p: str, rng: random.Random) -> Piece:
    names = [f"{p}{letter}" for letter in "abcd"[: rng.randint(1, 4)]]
    objects = " ".join(f"{p}obj/{n}.o" for n in names)
    text = f"{p}lib.a: {objects}\n\trm -f $@; $(AR) rcs $@ $^\n"
    text += f"{p}obj/%.o: {p}src/%.c {p}src/{p}.h | {p}obj\n\t{rng.choice(('', '@', '-'))}$(CC) -I{p}src $(CFLAGS)"
    text += f" {rng.choice(('', '-MMD', '-MD -MP', '-MMD -MF $(@:.o=.dep)', '-Wp,-MMD,$@.d'))} -c $< -o $@\n"
    text += f"{p}obj:\n\tmkdir -p $@\n-include $(wildcard {p}obj/*.d)\n"
    files = {f"{p}src/{n}.c": c_source(n, rng, include=f"{p}.h") for n in names}
    files[f"{p}src/{p}.h"] = f"#define {p}VALUE 3\n"
    return Piece(text, (f"{p}lib.a",), files, tuple(files), (f"{p}lib.a", f"{p}obj/{names[0]}.o"))


@piece
def static_pattern(p: str, rng: random.Random) -> Piece:
    names = [f"{p}{letter}" for letter in "ab"]
    text = f"{p}OBJ := {' '.join(f'{n}.o' for n in names)}\n{p}all: $({p}OBJ)\n.PHONY: {p}all\n"
    text += f"$({p}OBJ): private CFLAGS += -D{p.upper()}={rng.randrange(9)}\n"
    text += f"$({p}OBJ): %.o: %.c\n\t$(CC) $(CFLAGS) -c -o $@ $<\n"
    files = {f"{n}.c": c_source(n, rng) for n in names}
    return Piece(text, (f"{p}all",), files, tuple(files), (f"{names[0]}.o",))


@piece
def double_colon(p: str, rng: random.Random) -> Piece:
    text = f"{p}log:: {p}a.c\n\t$(CC) -c $< -o {p}a.o && echo a >> $@\n{p}log:: {p}b.c\n\t$(CC) -c $< -o {p}b.o\n"
    text += f"\techo b >> $@\n{p}always::\n\techo always >> $@.txt\n"
    files = {f"{p}{n}.c": c_source(f"{p}{n}", rng) for n in "ab"}
    return Piece(text, (f"{p}log", f"{p}always"), files, tuple(files), (f"{p}a.o",))


@piece
def grouped(p: str, rng: random.Random) -> Piece:
    between = rng.choice((" &:", " &:", ":"))
    text = f"{p}a.o {p}b.o{between} {p}a.c {p}b.c\n\t$(CC) $(CFLAGS) -c {p}a.c -o {p}a.o\n"
    text += f"\t$(CC) $(CFLAGS) -c {p}b.c -o {p}b.o\n"
    if between == ":":
        text = text.replace(f"{p}a.o {p}b.o:", f"{p}b.o: {p}a.o ;\n{p}a.o:")
    files = {f"{p}{n}.c": c_source(f"{p}{n}", rng) for n in "ab"}
    return Piece(text, (f"{p}a.o", f"{p}b.o"), files, tuple(files), (f"{p}b.o",))


def below(p: str, rng: random.Random, head: str = "") -> tuple[dict[str, str], list[str]]:
    """A directory of its own with a Makefile and some units; its files and the objects' names."""
    names = [f"{p}{letter}" for letter in "abc"[: rng.randint(1, 3)]]
    objects = [f"{n}.o" for n in names]
    text = f"{head}all: {' '.join(objects)}\n%.o: %.c\n\t$(CC) $(CFLAGS) -c $< -o $@\n"
    files = {f"{p}d/{n}.c": c_source(n, rng) for n in names} | {f"{p}d/Makefile": text}
    return files, objects


def inside(p: str, text: str, files: dict[str, str], *, outputs: tuple[str, ...], fails: bool = False) -> Piece:
    """A piece with a Makefile of its own in a directory."""
    inside = {f"{p}d/{name}": content for name, content in files.items()} | {f"{p}d/Makefile": text}
    makefile = f"{p}all:\n\t@$(MAKE) -C {p}d\n.PHONY: {p}all\n"
    sources = tuple(name for name in inside if not name.endswith("Makefile"))
    return Piece(makefile, (f"{p}all",), inside, sources, tuple(f"{p}d/{name}" for name in outputs), fails)


@piece
def recursion(p: str, rng: random.Random) -> Piece:
    files, objects = below(p, rng)
    call = rng.choice(
        (
            f"$(MAKE) -C {p}d",
            f"+cd {p}d && $(MAKE)",
            f"@cd {p}d; ${{MAKE}} CFLAGS='$(CFLAGS) -DX'",
            f"for d in {p}d; do $(MAKE) -C $$d || exit 1; done",
            f"$(MAKE) -w --no-print-directory -C {p}d all",
            f"make -C {p}d",
            f"+gmake -C {p}d" if rng.random() < 0.3 else f"(cd {p}d; make -s)",
            f"/usr/bin/make -C {p}d",
            f"@$(MAKE) -k -C {p}d; echo $$?",
        )
    )
    text = f"{p}all:\n\t{call}\n.PHONY: {p}all\n{p}lib.a: {p}all\n\t$(AR) rc $@ {p}d/*.o\n\t-ranlib $@\n"
    return Piece(text, (f"{p}lib.a",), files, tuple(files)[:-1], (f"{p}d/{objects[0]}", f"{p}lib.a"))


@piece
def settings(p: str, rng: random.Random) -> Piece:
    """A Makefile of its own that sets what holds for a whole Makefile."""
    head = rng.choice(
        (
            ".ONESHELL:\n",
            ".NOTPARALLEL:\n",
            ".SILENT:\n",
            ".DELETE_ON_ERROR:\n",
            "SHELL := /bin/bash\n.SHELLFLAGS := -eu -o pipefail -c\n",
            "export PATH := /usr/bin:/bin\n",
            "MAKEFLAGS += -r --no-print-directory\n",
            "MAKE := make\n",
            ".SECONDEXPANSION:\n",
            ".POSIX:\n",
            "CC := /usr/bin/gcc\n",
            "CC := env LANG=C gcc\n",
            "CC := ./wrap\n",
            "export CFLAGS\nunexport CC\n",
            "MAKEFLAGS += -j3\n",
            "CC = $(shell command -v gcc)\n",
        )
    )
    files, objects = below(p, rng, head)
    files[f"{p}d/wrap"] = '#!/bin/sh\necho wrapped >> wrap.log\nexec cc "$@"\n'
    if "wrap" in head:
        head = ".NOTPARALLEL:\n"
        files[f"{p}d/Makefile"] = head + files[f"{p}d/Makefile"]
    text = f"{p}all:\n\t+$(MAKE) -C {p}d\n.PHONY: {p}all\n"
    sources = tuple(name for name in files if name.endswith(".c"))
    return Piece(text, (f"{p}all",), files, sources, (f"{p}d/{objects[0]}",))


@piece
def vpath(p: str, rng: random.Random) -> Piece:
    names = [f"{p}{letter}" for letter in "ab"]
    head = rng.choice(("VPATH = src\n", "vpath %.c src\n", "VPATH = src:.\n"))
    text = f"{head}all: {' '.join(f'{n}.o' for n in names)}\n"
    if rng.random() < 0.5:
        text += "%.o: %.c\n\t$(CC) -c $< -o $@\n"
    files = {f"{p}d/src/{n}.c": c_source(n, rng) for n in names}
    makefile = f"{p}all:\n\t$(MAKE) -C {p}d\n.PHONY: {p}all\n"
    return Piece(makefile, (f"{p}all",), {**files, f"{p}d/Makefile": text}, tuple(files), (f"{p}d/{names[0]}.o",))


@piece
def loop(p: str, rng: random.Random) -> Piece:
    files = {f"{p}{n}.c": c_source(f"{p}{n}", rng) for n in "abc"}
    how = rng.choice(
        (
            f"for f in {p}a {p}b {p}c; do $(CC) $(CFLAGS) -c $$f.c -o $$f.o || exit 1; done",
            f"set -e; for f in {p}*.c; do echo $$f; $(CC) -c $$f; done",
            f"printf '%s\\n' {p}a.c {p}b.c {p}c.c | xargs -n1 -P2 $(CC) -c",
            f"$(CC) -c {p}a.c & $(CC) -c {p}b.c & $(CC) -c {p}c.c & wait",
            f"$(CC) -c {p}a.c {p}b.c {p}c.c",
            f"find . -name '{p}?.c' | sort | while read f; do $(CC) -c $$f; done",
            f"( $(CC) -c {p}a.c; $(CC) -c {p}b.c ) && $(CC) -c {p}c.c -o {p}c.o; :",
        )
    )
    objects = " ".join(f"{p}{n}.o" for n in "abc")
    text = f"{p}all: {' '.join(files)}\n\t{how}\n\tcat {objects} > $@\n"
    return Piece(text, (f"{p}all",), files, tuple(files), (f"{p}all", f"{p}b.o"))


@piece
def generated(p: str, rng: random.Random) -> Piece:
    order = rng.choice(("", "| "))
    text = f"{p}all: {p}a.o {p}g.o\n\tcat $^ > $@\n"
    text += f"{p}a.o: {p}a.c {order}{p}g.h\n\t$(CC) -I. $(CFLAGS) -MMD -c $< -o $@\n"
    text += f"{p}g.h: {p}g.in\n\tsed 's/^/#define {p}V /' $< > $@.tmp\n\tmv -f $@.tmp $@\n"
    text += f"{p}g.c: {p}g.in\n\techo 'int {p}g = '`cat $<`';' > $@\n-include {p}a.d\n"
    if rng.random() < 0.5:
        text += f"{p}gen: {p}gen.c\n\t$(CC) $< -o $@\n{p}g2.h: {p}gen\n\t./{p}gen > $@\n{p}g.o: {p}g2.h\n"
    files = {
        f"{p}a.c": c_source(f"{p}a", rng, include=f"{p}g.h"),
        f"{p}g.in": f"{rng.randrange(99)}\n",
        f"{p}gen.c": f'int puts(const char *);\nint main(void) {{ puts("#define {p}H 1"); return 0; }}\n',
    }
    return Piece(text, (f"{p}all",), files, tuple(files), (f"{p}g.h", f"{p}a.o"))


@piece
def included(p: str, rng: random.Random) -> Piece:
    """A makefile that make itself makes, and then reads again."""
    word = rng.choice(("include", "-include"))
    text = f"{word} {p}rules.mk\n{p}rules.mk: {p}list\n\t@sed 's/.*/{p}O += &.o/' $< > $@\n"
    text += f"{p}all: $({p}O)\n\techo $^ > $@\n{p}x.o: {p}x.c\n\t$(CC) -c $< -o $@\n"
    files = {
        f"{p}list": f"{p}x\n{p}y\n",
        f"{p}x.c": c_source(f"{p}x", rng),
        f"{p}y.c": c_source(f"{p}y", rng),
    }
    return Piece(text, (f"{p}all",), files, tuple(files), (f"{p}x.o", f"{p}rules.mk"))


@piece
def depfiles(p: str, rng: random.Random) -> Piece:
    """The manual's own: `%.d: %.c` by `$(CC) -M`, included."""
    make_depfile = rng.choice(
        (
            f"@set -e; $(CC) -MM $< | sed 's,{p}a\\.o[ :]*,{p}a.o $@ : ,g' > $@",
            "$(CC) -MM -MF $@ -MT $(@:.d=.o) $<",
            "@$(CC) -E -MMD -MF $@ $< > /dev/null",
        )
    )
    text = f"{p}all: {p}a.o\n\techo $^ > $@\n{p}a.d: {p}a.c\n\t{make_depfile}\n-include {p}a.d\n"
    files = {
        f"{p}a.c": c_source(f"{p}a", rng, include=f"{p}h.h"),
        f"{p}h.h": f"#define {p}H {rng.randrange(99)}\n",
    }
    return Piece(text, (f"{p}all",), files, tuple(files), (f"{p}a.d", f"{p}a.o"))


@piece
def intermediate(p: str, rng: random.Random) -> Piece:
    kind = rng.choice((".INTERMEDIATE", ".SECONDARY", ".PRECIOUS", "#"))
    text = f"{kind}: {p}a.c {p}a.o\n%.{p}bin: %.o\n\tcp $< $@\n{p}a.c: {p}a.in\n\tcp $< $@\n"
    text += f"%.{p}t: %.{p}s\n\ttr a-z A-Z < $< > $@\n%.{p}u: %.{p}t\n\tcat $< $< > $@\n"
    files = {f"{p}a.in": c_source(f"{p}a", rng), f"{p}w.{p}s": "some text\n"}
    return Piece(text, (f"{p}a.{p}bin", f"{p}w.{p}u"), files, tuple(files), (f"{p}a.{p}bin",))


@piece
def command_forms(p: str, rng: random.Random) -> Piece:
    """Compiler calls that are no plain compile, or that a shell wraps."""
    forms = (
        "$(CC) -S $< -o $@.s && $(CC) -c $@.s -o $@",
        "$(CC) -E $< > $@.i && $(CC) -c $@.i -o $@",
        "$(CC) -x c -c - -o $@ < $<",
        "cat $< | $(CC) -xc - -c -o $@",
        "$(CC) -c $< -o $@.tmp && mv $@.tmp $@",
        "$(CC) -c $< -o $@ 2> $@.err; echo $$? > $@.status",
        "$(CC) -Wall -Wextra -c $< -o $@ 2>&1 | sed 's/^/| /' > $@.log",
        "$(CC) -Wall -c $< -o $@ > $@.log 2>&1",
        "umask 077; $(CC) -c $< -o $@; umask > $@.mask",
        "ulimit -f 10000; $(CC) -c $< -o $@",
        "LC_ALL=C $(CC) -c $< -o $@",
        "env -i PATH=/usr/bin:/bin $(CC) -c $< -o $@",
        "exec $(CC) -c $< -o $@",
        "command $(CC) -c $< -o $@",
        "echo '-O1 -c $<' > $@.rsp; $(CC) @$@.rsp -o $@",
        "$(CC) -c $< -o $@ -include $<.h",
        "$(CC) -c $< -o ./$@; $(CC) -c ./$< -o $(CURDIR)/$@",
        "/usr/bin/gcc -c $< -o $@; `which gcc` -c $< -o $@",
        "x86_64-linux-gnu-gcc -c $< -o $@ || $(CC) -c $< -o $@",
        "ln -sf $@.real $@; $(CC) -c $< -o $@; ls -l $@ | cut -c1",
        ": > $@; ln -f $@ $@.hard; $(CC) -c $< -o $@",
        'test -n "`$(CC) -dumpmachine`" && $(CC) -v -c $< -o $@ 2>&1 | grep -c "/cc1 " > $@.n',
        "$(CC) -c $< -save-temps -o $@",
        "$(CC) -c $< --coverage -frandom-seed=$@ -o $@",
        "$(CC) -c $< -flto -frandom-seed=$@ -o $@",
        "$(CC) -c $< -g0 -fdump-tree-original -o $@ && ls $@* > $@.list",
        "mkdir -p $@.d && cd $@.d && $(CC) -c ../$< && cp *.o ../$@",
        "$(CC) -c $< -o $@ -Wp,-MD,$@.dep",
        "$(CC) -c $< -o $@ -MD -MT x.o -MT '$$(Y)' -MQ '$$z' -MP",
        "$(CC) $< -o $@ -shared -fPIC",
        "$(CC) -r -nostdlib $< -o $@",
        "printf 'int q;' > $@.c; sync; $(CC) -c $@.c -o $@; printf 'int r;' > $@.c; $(CC) -c $@.c -o $@.2",
        "chmod 400 $<; $(CC) -c $< -o $@; chmod 644 $<; chmod 444 $@",
        "-$(CC) -c $<.missing -o $@; $(CC) -c $< -o $@",
        "$(CC) -c $< -o $@ -DSTR='\"a b\"' \"-DQ=x y\" -D'E()='",
        "bash -c 'gcc -c $< -o $@'",
        "( exec 9>$@.fd; $(CC) -c $< -o $@ >&9 2>&9 )",
        "python3 -c \"import subprocess; subprocess.check_call(['gcc','-c','$<','-o','$@'])\"",
        'perl -e \'system("cc", "-c", "$<", "-o", "$@") == 0 or die\'',
        "timeout 60 $(CC) -c $< -o $@",
        "nice $(CC) -c $< -o $@",
        "$(CC) -c $< -o $@ -Wno-such-thing -Wunused-macros -frecord-gcc-switches",
        "ccache gcc -c $< -o $@",
    )
    chosen = rng.sample(forms, rng.randint(1, 3))
    text, files = "", {}
    for number, form in enumerate(chosen):
        text += f"{p}{number}.o: {p}{number}.c\n\t{form}\n"
        files[f"{p}{number}.c"] = c_source(f"{p}{number}", rng)
        files[f"{p}{number}.c.h"] = "#define INCLUDED 1\n"
    objects = tuple(f"{p}{number}.o" for number in range(len(chosen)))
    return Piece(text, objects, files, tuple(files), objects[:1])


@piece
def special_sources(p: str, rng: random.Random) -> Piece:
    """Sources that compile differently where something of the surroundings is lost."""
    head = rng.choice(
        (
            "const char *t = __TIMESTAMP__;",
            "const char *f = __FILE__; int c = __COUNTER__; int d = __COUNTER__;",
            "const char *b = __BASE_FILE__; int l = __INCLUDE_LEVEL__;",
            '__asm__(".section .rodata\\n .incbin \\"PREFIXa.c.dat\\"\\n .text");',
            '#if __has_include("PREFIXa.h")\n#include "PREFIXa.h"\n#else\nint none;\n#endif',
            '#pragma GCC diagnostic ignored "-Wunused"\nstatic int s;',
            '#line 77 "other.c"\nint w(void) { int u; return __LINE__; }',
            "#warning careful",
            "int trigraph = '??/n';",
            "#define LONG(x) #x\nconst char *q = LONG(a  b\t \"c\\n\" 'd');",
            '_Pragma("message(\\"hello\\")") int m;',
            "#include __FILE__".replace("__FILE__", '"PREFIXa.h"'),
            "\ufeffint bom;",
            'int \u00e9t\u00e9 = 1; const char *u = "\u00fc";',
            "int cr;\r\nint lf;\r\n#define A \\\r\n 3\r\nint a = A;",
            "int no_newline_at_the_end;",
            "",
        )
    ).replace("PREFIX", p)
    flags = rng.choice(
        ("", "-Wall -Wextra", "-O2 -Werror=format", "-std=c11 -pedantic", "-trigraphs", "-g0 -fPIC", "-E")
    )
    if flags == "-E":
        text = f"{p}a.o: {p}a.c\n\t$(CC) -E -dD -o $@ $<\n"
    else:
        text = f"{p}a.o: {p}a.c\n\t$(CC) {flags} -c -o $@ $<\n"
    files = {
        f"{p}a.c": head + ("" if "newline" in head else "\n"),
        f"{p}a.c.dat": "data",
        f"{p}a.h": f"int {p}h;\n",
    }
    return Piece(text, (f"{p}a.o",), files, (f"{p}a.c", f"{p}a.h"), (f"{p}a.o",))


@piece
def broken(p: str, rng: random.Random) -> Piece:
    """Recipes that fail, each in its own way."""
    source, recipe = rng.choice(
        (
            ("int f( {\n", "$(CC) -c $< -o $@"),
            ("int f(void) { return missing; }\n", "$(CC) -Wall -c $< -o $@"),
            ('#include "not_there.h"\n', "$(CC) -c $< -o $@"),
            ("#error stop\n", "$(CC) -MMD -c $< -o $@"),
            ("int u(void) { int x; return x; }\n", "$(CC) -Wall -Werror -O -c $< -o $@"),
            ("int ok;\n", "$(CC) -c $< -o $@ && false"),
            ("int ok;\n", "$(CC) -c $< -o $@; exit 7"),
            ("int ok;\n", "$(CC) -c $< -o $@ --no-such-option"),
            ("int ok;\n", "$(CC) -c $< -o no/such/dir/$@"),
            ("int ok;\n", "kill -TERM $$$$"),
            ("int ok;\n", "$(CC) $< -o $@"),
            ("int ok;\n", "no-such-command $<"),
            ("int f( {\n", "-$(CC) -c $< -o $@"),
            ("int f( {\n", "$(CC) -c $< -o $@ || echo fallback > $@"),
            ("int f( {\n", "$(CC) -c $< -o $@ 2> $@.err; cat $@.err; test -s $@.err && exit 3"),
            ("int ok;\n", "$(CC) -c $<.nope $< -o $@"),
            ('__asm__("bogus_instruction");\n', "$(CC) -c $< -o $@"),
            ("static int f(void);\nint g(void) { return f(); }\n#include <nope/x.h>\n", "$(CC) -c $<"),
        )
    )
    text = f"{p}bad: {p}bad.o\n\tcp $< $@\n{p}bad.o: {p}bad.c\n\t@: > $@\n\t{recipe}\n"
    if rng.random() < 0.4:
        text = ".DELETE_ON_ERROR:\n" + text
    return Piece(text, (f"{p}bad",), {f"{p}bad.c": source}, (f"{p}bad.c",), (), fails=True)


@piece
def cxx(p: str, rng: random.Random) -> Piece:
    text = f"{p}prog: {p}a.o {p}m.o\n\t$(CXX) -o $@ $^\n{p}%.o: {p}%.cpp {p}h.hpp\n\t$(CXX) $(CXXFLAGS) -c $< -o $@\n"
    files = {
        f"{p}h.hpp": f"#pragma once\ntemplate <class T> T {p}t(T x) {{ return x + {rng.randrange(9)}; }}\n"
        f"int {p}f(int);\n",
        f"{p}a.cpp": f'#include "{p}h.hpp"\nint {p}f(int x) {{ int u; return {p}t(x); }}\n',
        f"{p}m.cpp": f'#include "{p}h.hpp"\n#include <cstddef>\nint main() {{ return {p}f(2) == 0; }}\n',
    }
    return Piece(text, (f"{p}prog",), files, tuple(files), (f"{p}a.o",))


@piece
def fortran(p: str, rng: random.Random) -> Piece:
    """Modules, their users, an include file; with the modules beside or in a directory."""
    where = rng.choice(("", f"-J{p}mod "))
    order = f" | {p}mod" if where else ""
    text = f"{p}all: {p}m.o {p}u.o {p}f.o\n\t$(AR) rcs {p}lib.a $^\n\ttouch $@\n{p}mod:\n\tmkdir $@\n"
    text += f"{p}u.o: {p}m.o\n{p}m.o {p}u.o: %.o: %.f90{order}\n\tgfortran {where}-c $< -o $@\n"
    if rng.random() < 0.5:
        text += f"{p}f.o: {p}f.F {p}f.inc\n\tgfortran -cpp -c $<\n"
    files = {
        f"{p}m.f90": f"module {p}m\n  integer, parameter :: k = {rng.randrange(9)}\ncontains\n"
        "  integer function f(x)\n    integer, intent(in) :: x\n    f = x + k\n  end function\nend module\n",
        f"{p}u.f90": f"subroutine {p}u(y)\n  use {p}m\n  integer y\n  y = f(y) + k\nend subroutine\n",
        f"{p}f.F": f"      SUBROUTINE {p}f\n#ifdef X\n      WRONG\n#endif\n"
        f"      INCLUDE '{p}f.inc'\n      I = 1\n      END\n",
        f"{p}f.inc": "      INTEGER I\n",
    }
    return Piece(text, (f"{p}all",), files, tuple(files), (f"{p}u.o",))


@piece
def libtool_like(p: str, rng: random.Random) -> Piece:
    """Two objects of one source under one name in two directories, and a text file that names them."""
    text = f"{p}.SUFFIXES:\n{p}a.lo: {p}a.c\n\t@mkdir -p {p}.libs\n"
    text += f"\t$(CC) -c $< -fPIC -DPIC -o {p}.libs/{p}a.o\n\t$(CC) -c $< -o {p}a.o >/dev/null 2>&1\n"
    text += f"\t@echo \"pic_object='{p}.libs/{p}a.o'\" > $@\n"
    text = text.replace(f"{p}.SUFFIXES:\n", "")
    return Piece(text, (f"{p}a.lo",), {f"{p}a.c": c_source(f"{p}a", rng)}, (f"{p}a.c",), (f"{p}a.lo",))


@piece
def kbuild_like(p: str, rng: random.Random) -> Piece:
    """`if_changed`: the command line is kept in a file and compared on the next run; FORCE; a depfile mended by sed."""
    text = f"{p}cmd = $(CC) -Wp,-MMD,.$@.d $(CFLAGS) -c -o $@ $<\n-include $(wildcard .{p}*.cmd)\n"
    text += f"{p}%.o: {p}%.c FORCE\n\t$(if $(filter-out FORCE,$?)$(if $(saved_$@),,x),@set -e; echo '  CC      $@'; "
    text += "$({p}cmd); sed -n 's/^/# /p' .$@.d > .$@.cmd; echo 'saved_$@ := y' >> .$@.cmd; rm -f .$@.d,@:)\n"
    text += f".PHONY: FORCE\nFORCE:\n{p}built-in.a: {p}a.o {p}b.o\n\trm -f $@; $(AR) cDPrST $@ $^\n"
    text = text.replace("{p}", p)
    files = {f"{p}{n}.c": c_source(f"{p}{n}", rng) for n in "ab"}
    return Piece(text, (f"{p}built-in.a",), files, tuple(files), (f"{p}a.o",))
