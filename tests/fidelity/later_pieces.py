"""Still further fragments: what the GNU make manual offers and the first two files do not make use of.

As `pieces`; a word that a make does not know (4.2 has no `.WAIT`) fails on both sides.  It runs nothing.
"""

from __future__ import annotations

import random

from tests.fidelity.pieces import Piece, below, c_source, inside, piece


@piece
def templates(p: str, rng: random.Random) -> Piece:
    """Rules from `define`, `call`, `eval` and `foreach`; lists from `$(file ...)` and `$(shell ...)`."""
    names = [f"{p}{letter}" for letter in "abc"]
    rule = "define rule\n$(1).o: $(1).c\n\t$$(CC) $$(CFLAGS) -D$(1)=$(2) -c $$< -o $$@\nendef\n"
    use = rng.choice(
        (
            f"$(foreach n,{' '.join(names)},$(eval $(call rule,$(n),{rng.randrange(9)})))\n",
            f"$(foreach n,$(basename $(wildcard {p}*.c)),$(eval $(call rule,$(n),1)))\n",
            f"$(foreach n,$(shell ls {p}*.c | sed 's/\\.c//'),$(eval $(call rule,$(n),2)))\n",
            "".join(f"$(eval $(call rule,{name},{number}))\n" for number, name in enumerate(names)),
        )
    )
    objects = " ".join(f"{name}.o" for name in names)
    link = rng.choice(
        (
            "$(file >$@.rsp,$^)$(AR) rcs $@ @$@.rsp",
            "$(AR) rcs $@ $(sort $^)",
            "$(if $(filter %.o,$^),$(AR) rcs $@ $^,false)",
            "$(AR) rcs $@ $(^:%=./%) && echo '$(words $^) $(firstword $^) $(notdir $@)' > $@.txt",
        )
    )
    text = f"{rule}all: lib.a\n{use}lib.a: {objects}\n\t{link}\n"
    return inside(p, text, {f"{name}.c": c_source(name, rng) for name in names}, outputs=("lib.a", f"{names[0]}.o"))


@piece
def second_expansion(p: str, rng: random.Random) -> Piece:
    """`.SECONDEXPANSION` in explicit, static and implicit rules; a directory's stamp by `$$(@D)`."""
    text = f".SECONDEXPANSION:\nprog_SOURCES = {p}a.c {p}b.c\nall: obj/prog.a out/{p}a.txt\n"
    text += "obj/%.a: $$(addprefix obj/,$$(%_SOURCES:.c=.o))\n\trm -f $@; $(AR) rcs $@ $^\n".replace("$$(%_", "$$($$*_")
    text += rng.choice(
        (
            "obj/%.o: %.c $$(wildcard $$*.h) | $$(@D)/.dir\n\t$(CC) $(CFLAGS) -c $< -o $@\n",
            f"obj/{p}a.o obj/{p}b.o: obj/%.o: $$(notdir $$(@:.o=.c)) | $$(@D)/.dir\n\t$(CC) -c $< -o $@\n",
            "vpath %.c .\nobj/%.o: $$(subst obj/,,$$*).c | $$(dir $$@).dir\n\t$(CC) -c -o $@ $<\n",
        )
    )
    text += (
        "%/.dir:\n\tmkdir -p $(@D) && touch $@\n.PRECIOUS: %/.dir\nout/%.txt: obj/%.o | $$(@D)/.dir\n\techo $^ > $@\n"
    )
    files = {f"{p}{n}.c": c_source(f"{p}{n}", rng) for n in "ab"} | {f"{p}a.h": ""}
    return inside(p, text, files, outputs=(f"obj/{p}a.o", "obj/prog.a"))


@piece
def several_targets(p: str, rng: random.Random) -> Piece:
    """A pattern rule with several targets, as for a parser generator; both must be made by one run of it."""
    text = f"all: {p}a.o {p}use.o\n%.tab.c %.tab.h: %.y\n\techo run >> runs.log\n"
    text += "\tsed 's/^/int p_/; s/$$/;/' $< > $*.tab.c\n\techo '#define TAB 1' > $*.tab.h\n"
    text += (
        f"{p}a.o: {p}a.tab.c {p}a.tab.h\n\t$(CC) -c $< -o $@\n{p}use.o: {p}use.c {p}a.tab.h\n\t$(CC) -I. -c $< -o $@\n"
    )
    text += rng.choice(("", f".SECONDARY: {p}a.tab.c\n", f".PRECIOUS: {p}a.tab.c {p}a.tab.h\n"))
    files = {f"{p}a.y": "token\n", f"{p}use.c": c_source(f"{p}use", rng, include=f"{p}a.tab.h")}
    return inside(p, text, files, outputs=(f"{p}a.tab.h", f"{p}a.o"))


@piece
def ordered(p: str, rng: random.Random) -> Piece:
    """`.WAIT`, `--shuffle` and `.NOTPARALLEL` with targets, all of 4.4."""
    between = rng.choice((".WAIT", "", "| "))
    head = rng.choice(
        (
            "MAKEFLAGS += --shuffle=reverse\n",
            "MAKEFLAGS += --shuffle=7\n",
            f".NOTPARALLEL: {p}all\n",
            ".NOTPARALLEL:\n",
            "",
        )
    )
    text = f"{head}all: {p}all\n{p}all: {p}a.o {p}b.o {between} {p}c.o\n\tcat $^ > {p}sum\n"
    text += "%.o: %.c\n\t$(CC) -c $< -o $@\n"
    return inside(p, text, {f"{p}{n}.c": c_source(f"{p}{n}", rng) for n in "abc"}, outputs=(f"{p}b.o",))


@piece
def special_targets(p: str, rng: random.Random) -> Piece:
    """`.DEFAULT`, `.RECIPEPREFIX`, `.EXTRA_PREREQS`, `.DEFAULT_GOAL`, suffix rules of its own, `-lNAME`."""
    files = {f"{p}{n}.c": c_source(f"{p}{n}", rng) for n in "ab"} | {f"{p}m.c": "int main(void) { return 0; }\n"}
    body = f"all: {p}a.o {p}b.o\n%.o: %.c\n\t$(CC) -c $< -o $@\n"
    text = rng.choice(
        (
            body + ".DEFAULT:\n\techo 'int d;' > $@.c; $(CC) -c $@.c -o $@\nall: extra\n",
            (".RECIPEPREFIX = >\n" + body).replace("\t", ">"),
            f".EXTRA_PREREQS = config\nconfig:\n\techo x > $@\n{body}config: .EXTRA_PREREQS =\n.DEFAULT_GOAL = all\n",
            f"other:\n\tfalse\n.DEFAULT_GOAL := all\n{body}",
            f".SUFFIXES:\n.SUFFIXES: .c .obj .bin\nall: {p}a.bin\n"
            ".c.obj:\n\t$(CC) -c $< -o $@\n.obj.bin:\n\tcp $< $@\n",
            f"all: prog\nprog: {p}m.c -l{p}x\n\t$(CC) -o $@ $^\nlib{p}x.a: {p}a.o\n\t$(AR) rcs $@ $^\nvpath lib%.a .\n"
            f"all: | lib{p}x.a\nprog: | lib{p}x.a\n.LIBPATTERNS = lib%.a\n",
            f"{body}.LOW_RESOLUTION_TIME: {p}a.o\n.PRECIOUS: %.o\n",
            f"all: {p}a.o(x)\n{p}a.o(x): ;\n",
            f"ifeq ($(MAKE_RESTARTS),)\n-include stamp.mk\nendif\nstamp.mk:\n\techo X=1 > $@\n{body}",
            f"{body}all: FORCE\nFORCE:\n{p}b.o: FORCE\n",
        )
    )
    return inside(p, text, files, outputs=(f"{p}a.o",), fails=True)


@piece
def words_for_make(p: str, rng: random.Random) -> Piece:
    """Options of a recursive make that the first files do not use, by word and by variable."""
    files, objects = below(p, rng, "-include config.mk\n")
    files |= {f"{p}e/Makefile": f"all: ; @echo elsewhere\n-include {p}x.mk\n", f"{p}inc/{p}x.mk": "$(info x)\n"}
    call = rng.choice(
        (
            f"$(MAKE) -C {p}d -l 1000",
            f"$(MAKE) -C {p}d -Oline",
            f"$(MAKE) -C {p}d -Orecurse -w",
            f"$(MAKE) -C {p}d --output-sync=none",
            f"$(MAKE) -C {p}e -I ../{p}inc && $(MAKE) -C {p}d",
            f"$(MAKE) -C {p}d --warn-undefined-variables",
            f"$(MAKE) -C {p}d; $(MAKE) -C {p}d -W {objects[0][:-2]}.c; $(MAKE) -C {p}d -o {objects[0]}",
            f"$(MAKE) -C {p}d -j",
            f"$(MAKE) -C {p}d -k -S",
            f"$(MAKE) -C . -C {p}d",
            f"$(MAKE) -L -C {p}d",
            f"$(MAKE) -C {p}d --debug=b > {p}log; $(MAKE) -C {p}d",
            f"$(MAKE) -C {p}d -R -e",
            f"GNUMAKEFLAGS=-k $(MAKE) -C {p}d",
            f"MAKEFLAGS='kr -- CFLAGS=-O1' make -C {p}d",
            f"MAKEFILES={p}inc/{p}x.mk $(MAKE) -C {p}d",
            f"printf 'include Makefile\\n' > {p}d/GNUmakefile; $(MAKE) -C {p}d",
            f"$(MAKE) -C {p}d $(foreach n,1 2 3 4 5 6 7 8 9,V$(n)=$(n))",
            f"$(MAKE) -C {p}d -p > /dev/null",
            f"$(MAKE) -v > /dev/null; $(MAKE) --help > /dev/null; $(MAKE) -C {p}d",
            f"echo 'X = 1' > {p}d/config.mk; $(MAKE) -C {p}d",
        )
    )
    text = f"{p}all: {p}o.c\n\t{call}\n.PHONY: {p}all\n"
    files[f"{p}o.c"] = ""
    sources = tuple(name for name in files if name.endswith(".c"))
    return Piece(text, (f"{p}all",), files, sources, (f"{p}d/{objects[0]}",))


@piece
def loaded(p: str, rng: random.Random) -> Piece:
    """An object that make itself loads, built by this make, which then starts again."""
    name = f"{p}ext"
    word = rng.choice(("load", "-load"))
    text = f"all: {p}a.o\n{word} {name}.so\n{name}.so: {name}.c\n\t$(CC) -shared -fPIC -o $@ $<\n"
    text += "%.o: %.c\n\t$(CC) -c $< -o $@\n"
    files = {
        f"{name}.c": f"int plugin_is_GPL_compatible;\nint {name}_gmk_setup(void) {{ return 1; }}\n",
        f"{p}a.c": c_source(f"{p}a", rng),
    }
    return inside(p, text, files, outputs=(f"{p}a.o",))


@piece
def places(p: str, rng: random.Random) -> Piece:
    """Directories behind links and with the set-group bit; objects that are read-only or links already; masks."""
    forms = (
        "ln -sfn . {p}ln; cd {p}ln && $(CC) -c $< -o $@",
        "ln -sfn $(CURDIR) {p}abs; $(CC) -c {p}abs/$< -o {p}abs/$@",
        "ln -sfn . {p}ln; cd {p}ln && pwd -L | sed 's,.*/,,' > ../{p}d/$@.pwd; $(CC) -c $(CURDIR)/$< -o $@",
        "mkdir -p {p}set && chmod 2775 {p}set && $(CC) -c $< -o {p}set/$@ && cp -p {p}set/$@ $@",
        "umask 027; rm -f $@; $(CC) -c $< -o $@",
        "umask 0; rm -f $@; $(CC) -c $< -o $@; ln -f $@ $@.2",
        "rm -f $@; : > $@; chmod 600 $@; $(CC) -c $< -o $@",
        "rm -f $@; : > $@; chmod 444 $@; $(CC) -c $< -o $@",
        "rm -f $@ $@.d; : > $@.d; chmod 640 $@.d; $(CC) -MMD -MF $@.d -c $< -o $@",
        "rm -f $@; : > $@; chown 1:1 $@; $(CC) -c $< -o $@; stat -c '%u %g' $@ > $@.owner; chown 0:0 $@",
        "rm -f $@; mkdir -p {p}real; ln -s {p}real/$@ $@; $(CC) -c $< -o $@",
        "rm -f $@; ln -s no/such/place $@; $(CC) -c $< -o $@; rm -f $@; $(CC) -c $< -o $@",
        "$(CC) -c $< -o $@ && touch -r $< $@ && install -m 640 $@ $@.inst",
        "cd .. && $(CC) -c {p}d/$< -o {p}d/$@",
        "TMPDIR=. $(CC) -c $< -o $@",
        "HOME=/nonexistent XDG_CACHE_HOME=/nonexistent $(CC) -c $< -o $@",
        "ulimit -c 0; ulimit -n 30; $(CC) -c $< -o $@",
        "CCACHE_DISABLE=1 DISTCC_HOSTS=nowhere $(CC) -c $< -o $@",
    )
    chosen = rng.sample(forms, rng.randint(1, 3))
    objects = [f"{p}{number}.o" for number in range(len(chosen))]
    rules = "".join(f"{o}: {o[:-2]}.c\n\t{form.replace('{p}', p)}\n" for o, form in zip(objects, chosen, strict=True))
    files = {f"{o[:-2]}.c": c_source(o[:-2], rng) for o in objects}
    return inside(p, f".NOTPARALLEL:\nall: {' '.join(objects)}\n{rules}", files, outputs=(objects[0],), fails=True)


@piece
def cleared(p: str, rng: random.Random) -> Piece:
    """Programs in an environment that the recipe has emptied, and what they see of it."""
    clear = rng.choice(
        ("env -i PATH=/usr/bin:/bin", "env -i", "env -u LD_PRELOAD", "exec env -i A=1 PATH=/bin:/usr/bin")
    )
    call = rng.choice(
        (
            "python3 -c \"import os; exit(os.system('/usr/bin/gcc -c $< -o $@'))\"",
            'perl -e \'exit(system("/usr/bin/gcc", "-c", "$<", "-o", "$@") >> 8)\'',
            "awk 'BEGIN { exit system(\"/usr/bin/gcc -c $< -o $@\") }'",
            "/usr/bin/find $< -exec /usr/bin/gcc -c {} -o $@ ';'",
            "/bin/sh -c '/usr/bin/gcc -c $< -o $@; true'",
            "/usr/bin/make -f inner.mk $@ IN=$<",
            "/usr/bin/python3 -c \"import subprocess as s; s.run(['/usr/bin/cc','-c','$<','-o','$@'], check=True)\"",
        )
    )
    see = rng.choice(("/usr/bin/printenv", "/bin/sh -c env", "/bin/bash -c 'env | grep -v ^_='", "/usr/bin/env"))
    text = f"all: {p}a.o {p}env\n{p}a.o: {p}a.c\n\t{clear} {call}\n{p}env:\n\tenv -i A=1 B= {see} > $@\n"
    files = {f"{p}a.c": c_source(f"{p}a", rng), "inner.mk": "%.o: $(IN)\n\t/usr/bin/gcc -c $< -o $@\n"}
    return inside(p, text, files, outputs=(f"{p}a.o", f"{p}env"))


@piece
def archives(p: str, rng: random.Random) -> Piece:
    """Archives in the wild: thin, appended to, unpacked, linked to one object, with a member as the target."""
    objects = f"{p}a.o {p}b.o"
    how = rng.choice(
        (
            f"$(AR) rcT $@ {objects}",
            f"rm -f $@; $(AR) qc $@ {p}a.o; $(AR) r $@ {p}b.o; ranlib $@; $(AR) t $@ > $@.list",
            f"$(AR) rcs $@ {objects} && mkdir -p x && cd x && $(AR) x ../$@ && ld -r -o ../{p}all.o *.o",
            "$(AR) cr $@ $? && $(AR) s $@",
            f"printf 'create %s\\naddmod %s\\naddmod %s\\nsave\\nend\\n' $@ {p}a.o {p}b.o | $(AR) -M",
            f"gcc-ar rcs $@ {objects}; gcc-nm $@ | grep -c ' T ' > $@.n",
            f"$(LD) -r {objects} -o {p}all.o && objcopy --strip-unneeded {p}all.o && $(AR) rcs $@ {p}all.o",
        )
    )
    text = f"all: {p}lib.a\n{p}lib.a: {objects}\n\t{how}\n%.o: %.c\n\t$(CC) -c $< -o $@\n"
    return inside(p, text, {f"{p}{n}.c": c_source(f"{p}{n}", rng) for n in "ab"}, outputs=(f"{p}lib.a", f"{p}a.o"))


@piece
def fortran_stamps(p: str, rng: random.Random) -> Piece:
    """Modules that are kept apart from their objects: compared and copied, moved, several in a file, by stamps."""
    keep = rng.choice(
        (
            f"gfortran -c $< -o $@; cmp -s {p}m.mod {p}m.old || cp {p}m.mod {p}m.old",
            f"gfortran -c $< -o $@ && mkdir -p mods && cp -p {p}m.mod {p}n.mod mods/",
            "gfortran -c $< -o $@ && touch -r $< $@",
            f"gfortran -Jmods -Imods -c $< -o $@ || (mkdir -p mods; gfortran -Jmods -c $< -o $@); cp mods/{p}m.mod .",
            "gfortran -fsyntax-only $< && gfortran -c $< -o $@",
        )
    )
    text = f"all: {p}u.o\n{p}m.mod: ;\n{p}m.o: {p}m.f90\n\t{keep}\n{p}u.o: {p}u.f90 {p}m.o\n"
    text += "\tgfortran -I. -Imods -c $< -o $@\n"
    files = {
        f"{p}m.f90": f"module {p}n\n integer :: n = {rng.randrange(9)}\nend module\nmodule {p}m\n use {p}n, only: n\n"
        " integer, parameter :: k = 3\nend module\n",
        f"{p}u.f90": f"subroutine {p}u(y)\n use {p}m\n integer y\n y = k + n\nend subroutine\n",
    }
    return inside(p, text, files, outputs=(f"{p}u.o", f"{p}m.mod"))
