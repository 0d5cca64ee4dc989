"""Further fragments: names, surroundings, side outputs, calls of make and recipes as they are found in the wild.

As `pieces`, whose numbering of choices the regression cases rely on: what is new comes here.  It runs nothing.
"""

from __future__ import annotations

import random

from tests.fidelity.pieces import Piece, below, c_source, piece


@piece
def strange_names(p: str, rng: random.Random) -> Piece:
    """Directories and files with blanks, bytes that are no UTF-8, quotes, dollars; and long ones."""
    name, written = rng.choice(
        (
            (f"{p}a b", f"{p}a\\ b"),
            (f"{p}\udce9t\udce9", f"{p}\udce9t\udce9"),
            (f"{p}\u00fcber", f"{p}\u00fcber"),
            (f"{p}it's", f"{p}it's"),
            (f"{p}a,b+c@d~", f"{p}a,b+c@d~"),
            (f"{p}{'long' * 20}/{'er' * 60}/{'still' * 30}", f"{p}{'long' * 20}/{'er' * 60}/{'still' * 30}"),
            (f"{p}(x)&", f"{p}(x)&"),
            (f"{p}a/../{p}a/./b", f"{p}a/../{p}a/./b"),
        )
    )
    flags = rng.choice(("", "-MMD", "-MD -MP -MF '$@.dep'", "-Wall"))
    text = f'{p}u.o: {written}/u.c\n\t$(CC) {flags} -I"$(<D)" -c "$<" -o $@\n'
    text += f'{p}v.o: {written}/u.c\n\tcd "$$(dirname "$<")" && $(CC) -c u.c && mv u.o "$(CURDIR)/$@"\n'
    if "../" in name:
        name = f"{p}a/b"
    files = {f"{name}/u.c": c_source(f"{p}u", rng, include="u.h"), f"{name}/u.h": f"#define {p}U 1\n"}
    return Piece(text, (f"{p}u.o", f"{p}v.o"), files, tuple(files), (f"{p}u.o",))


@piece
def surroundings(p: str, rng: random.Random) -> Piece:
    """A Makefile of its own with yet another setting for the whole of it."""
    head = rng.choice(
        (
            ".EXPORT_ALL_VARIABLES:\nCPATH = .\n",
            "SHELL = /bin/bash -e\n",
            "SHELL := /usr/bin/env bash\n",
            "SHELL = sh\n",
            ".IGNORE:\n",
            "MAKEFLAGS = --no-print-directory\n",
            "MAKEFLAGS += -j4\n",
            "MAKEFLAGS += --output-sync=target\n",
            "unexport HOME PWD\n",
            "export PATH := $(CURDIR):$(PATH)\n",
            "PATH = /usr/bin:/bin\n",
            "export LD_PRELOAD :=\n",
            "export TMPDIR := $(CURDIR)/tmp\n$(shell mkdir -p tmp)\n",
            "override CFLAGS += -DOVERRIDDEN\n",
            "CC = $(CURDIR)/cc-link\n$(shell ln -sf /usr/bin/gcc cc-link)\n",
            "CC := $(shell which cc) -pipe\n",
            "export SOURCE_DATE_EPOCH := 1\nCFLAGS += -DD=__DATE__\n",
            "export C_INCLUDE_PATH := $(CURDIR)\n",
            "export DEPENDENCIES_OUTPUT := deps.txt\n.NOTPARALLEL:\n",
            "define CC\ngcc\nendef\n",
            "export MAKELEVEL := 7\n",
            "export BASH_ENV := $(CURDIR)/nowhere\n",
            ".SHELLFLAGS := -xc\n",
        )
    )
    files, objects = below(p, rng, head)
    text = f"{p}all:\n\t+$(MAKE) -C {p}d\n.PHONY: {p}all\n"
    sources = tuple(name for name in files if name.endswith(".c"))
    return Piece(text, (f"{p}all",), files, sources, (f"{p}d/{objects[0]}",))


@piece
def oneshell(p: str, rng: random.Random) -> Piece:
    """Recipes of many lines that one shell runs, in a language of its own now and then."""
    body = rng.choice(
        (
            "set -e\n\tx=-DONE\n\t$(CC) $$x -c $< -o $@\n\tls $@ > $@.list\n",
            "@for i in 1 2; do\n\t  $(CC) -DI=$$i -c $< -o $@.$$i\n\tdone\n\tcat $@.1 $@.2 > $@\n",
            "-false\n\t$(CC) -c $< -o $@\n\ttrue\n",
            "cd sub && $(CC) -c ../$< -o ../$@\n\ttest -d sub || echo in sub > ../$@.where\n",
            "if $(CC) -c $< -o $@\n\tthen echo fine > $@.txt\n\telse exit 3\n\tfi\n",
            "cat > $@.c <<'EOF'\n\tint here;\n\tEOF\n\t$(CC) -c $@.c -o $@\n",
        )
    )
    head = f".ONESHELL:\n{rng.choice(('', '.DELETE_ON_ERROR:' + chr(10), 'SHELL = /bin/bash' + chr(10)))}"
    text = f"{head}all: {p}a.o {p}b.o\n%.o: %.c\n\t{body}"
    files = {f"{p}d/{p}{n}.c": c_source(f"{p}{n}", rng) for n in "ab"}
    makefile = f"{p}all:\n\t$(MAKE) -C {p}d\n.PHONY: {p}all\n"
    files |= {f"{p}d/Makefile": text, f"{p}d/sub/.keep": ""}
    sources = tuple(name for name in files if name.endswith(".c"))
    return Piece(makefile, (f"{p}all",), files, sources, (f"{p}d/{p}a.o",))


@piece
def python_shell(p: str, rng: random.Random) -> Piece:
    """`.ONESHELL` with a shell that is none, and target-specific shells."""
    if rng.random() < 0.5:
        body = "import subprocess\n\tfor n in '12':\n\t    subprocess.check_call(['$(CC)', '-DN=' + n, '-c', '$<', "
        body += "'-o', '$@'])\n"
        text = f".ONESHELL:\nall: {p}a.o\n%.o: SHELL = /usr/bin/python3\n%.o: %.c\n\t{body}"
    else:
        text = f"all: {p}a.o\n{p}a.o: SHELL = /usr/bin/perl\n{p}a.o: .SHELLFLAGS = -e\n{p}a.o: {p}a.c\n"
        text += '\tsystem("$(CC) -c $< -o $@"); exit($$? >> 8)\n'
    files = {f"{p}d/{p}a.c": c_source(f"{p}a", rng), f"{p}d/Makefile": text}
    makefile = f"{p}all:\n\t$(MAKE) -C {p}d\n.PHONY: {p}all\n"
    return Piece(makefile, (f"{p}all",), files, (f"{p}d/{p}a.c",), (f"{p}d/{p}a.o",))


@piece
def side_outputs(p: str, rng: random.Random) -> Piece:
    """Compiles that write more than their object, or under other flags than most; `.dbg.o` is compared stripped."""
    forms = (
        "$(CC) -c $< -o $@ -fstack-usage",
        "$(CC) -c $< -o $@ -Wa,-aln=$@.lst",
        "$(CC) -c $< -o $@ -Wa,-adhln > $@.lst",
        "$(CC) -c $< -o $@ -save-temps=obj",
        "$(CC) -c $< -o $@ -aux-info $@.aux",
        "$(CC) -c $< -o $@ -pipe -O2",
        "$(CC) -c $< -o $@ -fprofile-generate -frandom-seed=$@",
        "$(CC) -c $< -o $@ -ftest-coverage -fprofile-arcs -frandom-seed=$@",
        "$(CC) -c $< -o $@.t -flto && $(CC) -flto -r -nostdlib -flinker-output=nolto-rel $@.t -o $@ && rm $@.t",
        "$(CC) -c $< -o $@ -fdump-tree-all && ls $<.[0-9]* | wc -l > $@.n; rm -f $<.[0-9]*",
        "$(CC) -c $< -o $@ -x c -std=gnu89",
        "$(CC) -c -o $@ -x c++ $< -fpermissive",
        "$(CC) $< {p}main.c -o $@",
        "$(CC) -c $< {p}main.c && mv $(<:.c=.o) $@",
        "$(CC) -x c-header {p}pre.h -o {p}pre.h.gch; $(CC) -include {p}pre.h -c $< -o $@; rm -f {p}pre.h.gch",
        "$(CC) -c $< -o /tmp/$$$$-{p}.o && mv /tmp/$$$$-{p}.o $@",
        "$(CC) -c $< -o- -S > $@.s; $(CC) -c $@.s -o $@",
        "$(CC) -dM -E $< > $@.macros; $(CC) -c $< -o $@",
        "$(CC) -fsyntax-only $< && $(CC) -c $< -o $@",
        "$(CC) -M $< > $@.dep; $(CC) -MM -MG -MP -MT x $< >> $@.dep; $(CC) -c $< -o $@",
        "$(CC) -print-file-name=crt1.o > $@.txt; $(CC) -c $< -o $@",
        "printf '%s\\n' '-c' '\"$<\"' '-o $@' -DX=\\\\\"s\\\\\" > $@.rsp; $(CC) @$@.rsp",
        "$(CC) -imacros {p}pre.h -iquote . -idirafter / -c $< -o $@",
        "$(CC) -c $< -o $@ -fplugin=no-such-plugin || $(CC) -c $< -o $@",
        "$(CC) -c $< -o $@ -MMD -MF >(cat > $@.dep) 2>/dev/null || $(CC) -c $< -o $@",
        "$(CC) -c $< -o $@ -fdiagnostics-color=always -Wall -Wextra",
        "$(CC) -c $< -o $@ -fdiagnostics-format=json -Wall",
        "$(CC) -c $< -o $@ -w -Werror",
        "$(CC) -c $< -o $@ -fmax-errors=1 -Wfatal-errors",
        "$(CC) -c $< -o $@ -v 2> /dev/null",
        "$(CC) -c $< -o $@ -ffile-prefix-map=$(CURDIR)=/x -fmacro-prefix-map=$(CURDIR)=/y",
        "$(CC) -c $(CURDIR)/$< -o $(CURDIR)/$@",
        "cd / && $(CC) -c $(CURDIR)/$< -o $(CURDIR)/$@",
        "$(CC) -nostdinc -ffreestanding -c {p}free.c -o $@",
        "$(CC) -m32 -c {p}free.c -o $@ || $(CC) -c $< -o $@",
        "$(CC) -march=native -c $< -o $@",
        "$(CC) -fopenmp -c $< -o $@",
        "$(CC) -c $< -o $@; chmod 444 $@; $(CC) -c $< -o $@",
        "mkdir -p {p}ro && cp $< {p}ro/x.c && chmod -R a-w {p}ro; $(CC) -I{p}ro -c {p}ro/x.c -o $@; chmod -R u+w {p}ro",
        "ln -sfn . {p}link; $(CC) -I{p}link -c {p}link/$< -o {p}link/$@",
        "$(CC) -c $< -o $@ 2>&1 | head -1 > /dev/null",
        "$(CC) -c $< -o $@ >&- 2>&-",
        "$(CC) -c $< -o $@ < /dev/null > /dev/full",
        "! $(CC) -c {p}none.c -o $@ 2> $@.err; $(CC) -c $< -o $@",
        "$(CC) -Wall -c $< -o $@ 2>/dev/full; true",
        "unset PWD HOME; $(CC) -c $< -o $@",
        "PWD=/nowhere $(CC) -c $< -o $@",
        "TMPDIR=/nonexistent $(CC) -c $< -o $@",
        "GCC_COLORS= CPATH=. LANG=de_DE $(CC) -c $< -o $@",
        "LD_PRELOAD= $(CC) -c $< -o $@",
        "sh -c '$(CC) -c $< -o $@ & wait $$!'",
        "setsid -w $(CC) -c $< -o $@",
        "echo $< | xargs -I% $(CC) -c % -o $@",
        "find . -maxdepth 1 -name $< -exec $(CC) -c {} -o $@ ';'",
        "awk 'BEGIN { exit system(\"$(CC) -c $< -o $@\") }'",
        "$(eval {p}X := 1)$(CC) -D{p}X=$({p}X) -c $< -o $@",
        "$(shell $(CC) -c $< -o $@)",
        "test -n '$(shell $(CC) -c $< -o $@.early && echo y)' && $(CC) -c $< -o $@",
        "$(CC) -g -c $< -o $(@:.o=.dbg.o); $(CC) -c $< -o $@",
        "$(CC) -gsplit-dwarf -c $< -o $(@:.o=.dbg.o); rm -f *.dbg.dwo; $(CC) -c $< -o $@",
        "gcc-12 -c $< -o $@; /usr/bin/x86_64-linux-gnu-gcc-12 -c $< -o $@",
        "c99 -c $< -o $@; c89 -c $< -o $@.89; true",
        "../../../../../../../../../usr/bin/gcc -c $< -o $@ || $(CC) -c $< -o $@",
    )
    chosen = rng.sample(forms, rng.randint(1, 3))
    text, files = "", {f"{p}main.c": "int main(void) { return 0; }\n", f"{p}pre.h": f"#define {p}PRE 1\n"}
    files[f"{p}free.c"] = "int free_standing;\n"
    for number, form in enumerate(chosen):
        text += f"{p}{number}.o: {p}{number}.c\n\t{form.replace('{p}', p)}\n"
        files[f"{p}{number}.c"] = c_source(f"{p}{number}", rng)
    objects = tuple(f"{p}{number}.o" for number in range(len(chosen)))
    sources = tuple(f"{p}{number}.c" for number in range(len(chosen)))
    # Two of them may share a file of this piece's: one at a time, in a directory of their own.
    inner = f".NOTPARALLEL:\nSHELL = /bin/bash\nall: {' '.join(objects)}\n{text}"
    makefile = f"{p}all:\n\t@$(MAKE) -C {p}d\n.PHONY: {p}all\n"
    inside = {f"{p}d/{name}": content for name, content in files.items()} | {f"{p}d/Makefile": inner}
    return Piece(makefile, (f"{p}all",), inside, tuple(f"{p}d/{s}" for s in sources), (f"{p}d/{objects[0]}",))


@piece
def assembler(p: str, rng: random.Random) -> Piece:
    """`.s` and `.S`, with includes, defines and depfiles."""
    flags = rng.choice(("", "-MMD", "-D__ASSEMBLY__ -Wp,-MD,$@.d", "-Wa,--noexecstack", "-x assembler-with-cpp"))
    text = f"{p}a.o: {p}a.S {p}a.inc\n\t$(CC) {flags} -c $< -o $@\n{p}b.o: {p}b.s\n\t{rng.choice(('as', '$(CC) -c'))}"
    text += " $< -o $@\n"
    files = {
        f"{p}a.S": f'#include "{p}a.inc"\n.globl {p}a\n{p}a:\n{p.upper()}NOP\n',
        f"{p}a.inc": f"#define {p.upper()}NOP nop\n",
        f"{p}b.s": f".globl {p}b\n{p}b:\n nop\n",
    }
    return Piece(text, (f"{p}a.o", f"{p}b.o"), files, tuple(files), (f"{p}a.o",))


@piece
def recursion_by_other_words(p: str, rng: random.Random) -> Piece:
    """Calls of make as they are found in the wild."""
    files, objects = below(p, rng)
    files[f"{p}other.mk"] = f"{p}one: {p}o.o\n\tcp $< $@\n{p}o.o: {p}o.c\n\t$(CC) -c $<\n"
    files[f"{p}o.c"] = c_source(f"{p}o", rng)
    call = rng.choice(
        (
            f"$(MAKE) -f {p}other.mk && $(MAKE) -C {p}d",
            f"+make -j3 -C {p}d 2>/dev/null",
            f"MAKEFLAGS= $(MAKE) -C {p}d",
            f"unset MAKEFLAGS MAKELEVEL; make -C {p}d -j2 > {p}log",
            f"$(MAKE) -C {p}d -n > {p}log; $(MAKE) -C {p}d",
            f"$(MAKE) -C {p}d CFLAGS=-O1 $(MAKEFLAGS:%=) && $(MAKE) -q -C {p}d CFLAGS=-O1; echo $$?",
            f"$(MAKE) -s -C {p}d -t; rm -f {p}d/*.o; $(MAKE) -C {p}d",
            f"cd {p}d && exec $(MAKE)",
            f"sh -c 'cd {p}d; $(MAKE)'",
            f"env -i PATH=/usr/bin:/bin make -C {p}d",
            f"$(MAKE) -C {p}d -k no-such-goal all 2> {p}err; echo $$?",
            f"printf 'include Makefile\\n' | $(MAKE) -C {p}d -f -",
            f"$(MAKE) -C {p}d --eval='extra: ; @echo extra' extra all",
            f"nice make --directory={p}d --always-make",
            f"timeout 100 $(MAKE) -C {p}d",
            f"( $(MAKE) -C {p}d ) | cat",
            f'echo "`$(MAKE) -s -C {p}d`"',
            f"$(MAKE) -C {p}d -O; $(MAKE) -C {p}d --trace > {p}log",
        )
    )
    text = f"{p}all: {p}o.c\n\t{call}\n.PHONY: {p}all\n"
    sources = tuple(name for name in files if name.endswith(".c"))
    return Piece(text, (f"{p}all",), files, sources, (f"{p}d/{objects[0]}",))


@piece
def if_changed(p: str, rng: random.Random) -> Piece:
    """The kernel's Kbuild: `$(Q)`, `if_changed_dep`, a fixdep that is compiled first, saved command lines."""
    quiet = rng.choice(("", "@"))
    text = f"Q := {quiet}\nsquote := '\nempty :=\ncmd_cc_o_c = $(CC) -Wp,-MMD,.$@.d $(CFLAGS) -c -o $@ $<\n"
    text += "any-prereq = $(filter-out $(PHONY),$?) $(filter-out $(PHONY) $(wildcard $^),$^)\n"
    text += "arg-check = $(if $(strip $(cmd_$@)),$(filter-out $(cmd_$(1)),$(cmd_$@))"
    text += "$(filter-out $(cmd_$@),$(cmd_$(1))),x)\n"
    text += "if_changed_dep = $(if $(strip $(any-prereq) $(arg-check)),@set -e; $(if $(Q),echo '  CC      $@';) \\\n"
    text += "\t$(cmd_$(1)); ./fixdep .$@.d $@ '$(cmd_$(1))' > .$@.tmp; rm -f .$@.d; mv -f .$@.tmp .$@.cmd,@:)\n"
    text += f"PHONY := FORCE all\nall: {p}built-in.a\n{p}built-in.a: {p}a.o {p}b.o\n"
    text += "\t$(Q)rm -f $@; $(AR) cDPrST $@ $^\n"
    text += f"{p}a.o {p}b.o: %.o: %.c fixdep FORCE\n\t$(call if_changed_dep,cc_o_c)\n"
    text += "fixdep: fixdep.c\n\t$(Q)$(CC) -o $@ $<\nFORCE:\n-include $(wildcard .*.cmd)\n.PHONY: $(PHONY)\n"
    fixdep = (
        '#include <stdio.h>\nint main(int n, char **v) { printf("cmd_%s := %s\\n\\ndeps_%s := %s\\n", v[2], v[3], v[2],'
        " v[1]); return n != 4; }\n"
    )
    files = {f"{p}d/{p}{n}.c": c_source(f"{p}{n}", rng) for n in "ab"} | {f"{p}d/fixdep.c": fixdep}
    sources = tuple(files)
    files[f"{p}d/Makefile"] = text
    makefile = f"{p}all:\n\t+$(Q)$(MAKE) -C {p}d\n.PHONY: {p}all\n"
    return Piece(makefile, (f"{p}all",), files, sources, (f"{p}d/{p}a.o", f"{p}d/{p}built-in.a"))


@piece
def half_written(p: str, rng: random.Random) -> Piece:
    """Targets whose recipes fail after they have begun to write them, with and without `.DELETE_ON_ERROR`."""
    guard = rng.choice((".DELETE_ON_ERROR:\n", f".PRECIOUS: {p}x.o {p}y\n", ""))
    text = f"{guard}all: {p}x.o {p}y {p}z.o\n{p}x.o: {p}x.c\n\t$(CC) -c $< -o $@; exit 1\n"
    text += f"{p}y: {p}x.c\n\techo begun > $@\n\t$(CC) -c {p}none.c -o $@\n{p}z.o: {p}x.c\n\t$(CC) -c $< -o $@\n"
    files = {f"{p}d/{p}x.c": c_source(f"{p}x", rng), f"{p}d/Makefile": text}
    makefile = f"{p}all:\n\t$(MAKE) -C {p}d -k\n.PHONY: {p}all\n"
    return Piece(makefile, (f"{p}all",), files, (f"{p}d/{p}x.c",), (f"{p}d/{p}z.o",), fails=True)


@piece
def fortran_generators(p: str, rng: random.Random) -> Piece:
    """As genmake and mkmf write it: `.F` by cpp to `.f`, suffix rules, links to sources elsewhere, submodules."""
    text = f".SUFFIXES:\n.SUFFIXES: .o .f .F .f90 .F90\nFC = gfortran\nall: {p}a.o {p}s.o {p}m.o\n"
    text += f"\t$(AR) rcs lib.a $^\n{p}a.f: {p}a.F\n\tcpp -traditional -P $(DEFINES) $< > $@\n"
    text += ".f.o:\n\t$(FC) $(FFLAGS) -c $<\n.F90.o:\n\t$(FC) $(FFLAGS) -cpp -c $<\n"
    text += f"{p}s.o: {p}m.o\n{p}s.F90 {p}m.F90:\n\tln -sf ../{p}src/$@ $@\n"
    text += rng.choice(("FFLAGS = -O1\n", "FFLAGS = -fdefault-real-8\n", "DEFINES = -DX=1\n", "FFLAGS = -J. -I.\n"))
    files = {
        f"{p}d/{p}a.F": f"      SUBROUTINE {p}A\n#ifdef X\n      I = X\n#endif\n      END\n",
        f"{p}src/{p}m.F90": f"module {p}m\n interface\n  module subroutine {p}s(x)\n   integer, intent(inout) :: x\n"
        "  end subroutine\n end interface\nend module\n",
        f"{p}src/{p}s.F90": f"submodule ({p}m) {p}sub\ncontains\n module procedure {p}s\n  x = x + {rng.randrange(9)}\n"
        " end procedure\nend submodule\n",
    }
    sources = tuple(files)
    makefile = f"{p}all:\n\t$(MAKE) -C {p}d\n.PHONY: {p}all\n"
    return Piece(makefile, (f"{p}all",), {**files, f"{p}d/Makefile": text}, sources, (f"{p}d/{p}s.o",))


@piece
def order_only(p: str, rng: random.Random) -> Piece:
    """Directories, stamps and generated headers after the bar; `.PHONY` and empty recipes among them."""
    text = f"{p}a.o: {p}a.c | {p}dir {p}gen.h {p}stamp\n\t$(CC) -I. -c $< -o $@ && cp $@ {p}dir/\n"
    text += f"{p}dir:\n\tmkdir -p $@\n{p}gen.h: | {p}dir\n\techo '#define {p}G {rng.randrange(9)}' > $@\n"
    text += f"{p}stamp: {p}a.c ;\n{rng.choice((f'.PHONY: {p}stamp', f'.SECONDARY: {p}gen.h', ''))}\n"
    files = {f"{p}a.c": c_source(f"{p}a", rng, include=f"{p}gen.h")}
    return Piece(text, (f"{p}a.o",), files, tuple(files), (f"{p}gen.h", f"{p}a.o"))


@piece
def wrapped_calls(p: str, rng: random.Random) -> Piece:
    """Compilers behind programs that preload, detach, change the root or are static; several outputs named at once."""
    forms = (
        "fakeroot $(CC) -c $< -o $@",
        'fakeroot sh -c "$(CC) -c $< -o $@; chown 1:1 $@; stat -c %u $@" > $@.owner',
        "fakeroot $(MAKE) -f inner.mk $@ IN=$<",
        "busybox env A=1 busybox nice $(CC) -c $< -o $@",
        "echo $< | busybox xargs $(CC) -o $@ -c",
        "busybox sh -c '$(CC) -c $< -o $@ && ls $@'",
        "nohup setsid -w timeout 60 $(CC) -c $< -o $@ < /dev/null",
        "chroot / sh -c 'cd $(CURDIR) && $(CC) -c $< -o $@' || $(CC) -c $< -o $@",
        "$(CC) -o $@.not -c $< -o $@",
        "$(CC) -S -o /dev/stdout $< | $(CC) -x assembler -c -o $@ -",
    )
    chosen = rng.sample(forms, rng.randint(1, 3))
    objects = [f"{p}{number}.o" for number in range(len(chosen))]
    files = {f"{p}d/{p}{number}.c": c_source(f"{p}{number}", rng) for number in range(len(chosen))}
    sources = tuple(files)
    rules = (f"{o}: {o[:-2]}.c\n\t{form}\n" for o, form in zip(objects, chosen, strict=True))
    files[f"{p}d/inner.mk"] = "%.o: $(IN)\n\t$(CC) -c $< -o $@\n"
    files[f"{p}d/Makefile"] = f"all: {' '.join(objects)}\n{''.join(rules)}"
    makefile = f"{p}all:\n\t$(MAKE) -C {p}d\n.PHONY: {p}all\n"
    return Piece(makefile, (f"{p}all",), files, sources, (f"{p}d/{objects[0]}",))
