"""Fragments in the manner of well-known projects' Makefiles: Linux, U-Boot, OpenSSL, Perl, Git, automake, CMake, qmake.

Each stands in a directory of its own.  As `pieces`; it runs nothing.
"""

from __future__ import annotations

import random

from tests.fidelity.pieces import Piece, c_source, inside, main_source, piece


def _sources(rng: random.Random, names: str, *, include: str = "", place: str = "") -> dict[str, str]:
    return {f"{place}{name}.c": c_source(name, rng, include=include) for name in names}


@piece
def kernel(p: str, rng: random.Random) -> Piece:
    """`obj-y` lists read by one Makefile.build, questions to the compiler, a linked table of symbols."""
    build = (
        "src := $(obj)\nobj-y :=\ninclude $(src)/Kbuild\nsubdirs := $(addprefix $(obj)/,$(filter %/,$(obj-y)))\n"
        "real := $(addprefix $(obj)/,$(patsubst %/,%/built-in.a,$(obj-y)))\n$(obj)/built-in.a: $(real)\n"
        "\t$(Q)rm -f $@; $(AR) cDPrST $@ $(real)\n"
        "$(obj)/%.o: $(src)/%.c include/autoconf.h\n\t$(Q)$(CC) $(KCFLAGS) -Wp,-MMD,$(@D)/.$(@F).d -c -o $@ $<\n"
        + rng.choice(("", "\t$(Q)objcopy --strip-unneeded $@\n", "\t$(Q)nm $@ | sort -k3 > $@.syms\n"))
        + "$(addsuffix built-in.a,$(subdirs)): $(subdirs) ;\n.PHONY: $(subdirs)\n"
        "$(subdirs):\n\t$(Q)$(MAKE) -f scripts/Makefile.build obj=$(patsubst %/,%,$@)\n"
        "-include $(wildcard $(obj)/.*.d)\n"
    )
    asked = rng.choice(
        (
            "KCFLAGS += $(shell $(CC) -Werror -fno-stack-clash-protection -c -x c /dev/null -o /dev/null "
            "2>/dev/null &&"
            " echo -fno-stack-clash-protection)\n",
            "try-run = $(shell set -e; TMP=.tmp_$$$$/tmp; mkdir -p .tmp_$$$$; trap 'rm -rf .tmp_$$$$' EXIT;"
            ' if ($(1)) >/dev/null 2>&1; then echo "$(2)"; else echo "$(3)"; fi)\n'
            'KCFLAGS += $(call try-run,$(CC) -Werror -fwrapv -c -x c /dev/null -o "$$TMP",-fwrapv,-O1)\n',
            "KCFLAGS := -fno-common -DMACHINE=$(subst -,_,$(shell $(CC) -dumpmachine))\n",
            "KCFLAGS += -ffile-prefix-map=$(CURDIR)/= -D'KBUILD_MODNAME=\"$(notdir $(CURDIR))\"'\n",
        )
    )
    top = (
        "MAKEFLAGS += -rR --no-print-directory\nunexport LC_ALL\nLC_COLLATE=C\nexport LC_COLLATE\n"
        f"Q := {rng.choice(('@', ''))}\nCC := gcc\nAR := ar\n{asked}KCFLAGS += -include include/autoconf.h\n"
        "export CC AR Q KCFLAGS\nPHONY := all FORCE\nall: image System.map\n-include include/config/auto.conf\n"
        "include/config/auto.conf: .config\n\t$(Q)mkdir -p include/config\n"
        "\t$(Q)sed -n 's/^CONFIG_\\(.*\\)=y/#define CONFIG_\\1 1/p' $< > include/autoconf.h; cp $< $@\n"
        "include/autoconf.h: include/config/auto.conf ;\n"
        "init lib: include/autoconf.h FORCE\n\t$(Q)$(MAKE) -f scripts/Makefile.build obj=$@\n"
        "image: init lib link.sh\n\t$(Q)sh link.sh '$(CC)' $@ init/built-in.a lib/built-in.a\n"
        "System.map: image\n\t$(Q)nm -n $< | grep ' T [a-c]$$' | sed 's/.* //' > $@\n"
        "FORCE:\nPHONY += init lib\n.PHONY: $(PHONY)\n"
    )
    link = (
        'CC=$1; out=$2; shift 2\nset -e\n$CC -o .tmp1 -Wl,--whole-archive "$@" -Wl,--no-whole-archive\n'
        "nm .tmp1 | sed -n 's/.* T \\([a-c]\\)$/.ascii \"\\1\"/p' | sort > .syms.S\n"
        "echo '.section .note.GNU-stack' >> .syms.S\n$CC -c -o .syms.o .syms.S\n"
        '$CC -o $out -Wl,--whole-archive "$@" -Wl,--no-whole-archive .syms.o\nrm -f .tmp1\n'
    )
    files = {
        "scripts/Makefile.build": build,
        ".config": f"CONFIG_A=y\n{rng.choice(('CONFIG_B=y', '# CONFIG_B is not set'))}\n",
        "link.sh": link,
        "init/Kbuild": "obj-y += main.o\nobj-$(CONFIG_A) += a.o\n",
        "init/main.c": "int main(void) { return 0; }\n",
        "init/a.c": c_source("a", rng),
        "lib/Kbuild": "obj-y := b.o deep/\n",
        "lib/b.c": c_source("b", rng),
        "lib/deep/Kbuild": "obj-$(CONFIG_B) := c.o\n",
        "lib/deep/c.c": "#ifdef CONFIG_A\n" + c_source("c", rng) + "#endif\n",
    }
    return inside(p, top, files, outputs=("init/a.o", "lib/built-in.a", "image"))


@piece
def boot_loader(p: str, rng: random.Random) -> Piece:
    """As U-Boot: every unit twice, small and big; offsets from assembler text; blobs; a linker script."""
    convert = rng.choice(
        (
            "objcopy -O binary -j .text $< $@",
            "ld -r -b binary -o $@ $<",
            "objcopy -I binary -O elf64-x86-64 -B i386:x86-64 --rename-section .data=.rodata $< $@",
            "od -v -An -tx1 $< | sed 's/ /,0x/g;s/^,/  /;s/$$/,/' > $@.inc && $(CC) -DBLOB='\"$@.inc\"' -c "
            "blob.c -o $@",
        )
    )
    text = (
        "all: big small/image image.o\nCPPFLAGS += -I$(CURDIR)/include\n"
        "include/offsets.h: offsets.s\n\tsed -n 's/^->\\([^ ]*\\) [$$]*\\([^ ]*\\).*/#define \\1 \\2/p' $< > $@\n"
        "offsets.s: offsets.c\n\t$(CC) -fverbose-asm -S -o $@ $<\nobj := $(if $(SMALL),small,.)\n"
        "big: a.o b.o link.lds\n\t$(LD) -r -T link.lds -o $@ a.o b.o\n"
        "%.lds: %.lds.S\n\t$(CC) -E -P -x assembler-with-cpp -D__ASSEMBLY__ -o $@ $<\n"
        "a.o b.o: %.o: %.c include/offsets.h\n\t$(CC) $(CPPFLAGS) -c -o $@ $<\n"
        "small/image: FORCE include/offsets.h\n\t@mkdir -p small\n\t$(MAKE) obj=small SMALL=y -f small.mk $@\n"
        f"image.o: small/image\n\t{convert}\nFORCE:\n.PHONY: FORCE\n"
    )
    small = (
        "$(obj)/image: $(obj)/a.o $(obj)/b.o\n\t$(LD) -r -o $@ $^\n"
        "$(obj)/%.o: %.c include/offsets.h\n\t$(CC) -DSMALL -Os -Iinclude -c -o $@ $<\n"
    )
    files = _sources(rng, "ab", include="offsets.h") | {
        "offsets.c": "struct s { char c; long l; };\nvoid f(void) { __asm__ volatile(\n"
        '  "\\n->S_L %0 off" : : "i" (__builtin_offsetof(struct s, l))); }\n',
        "link.lds.S": "#define BASE 0\nSECTIONS { .text BASE : { *(.text*) } }\n",
        "blob.c": "const unsigned char blob[] = {\n#include BLOB\n};\n",
        "include/board.h": "",
        "small.mk": small,
    }
    return inside(p, text, files, outputs=("a.o", "small/a.o", "include/offsets.h"))


@piece
def openssl(p: str, rng: random.Random) -> Piece:
    """A rule for each object, a depfile kept if it says nothing new, `depend` before all by a second make."""
    keep = (
        "\t@touch {n}.d.tmp\n\t@if cmp {n}.d.tmp {n}.d > /dev/null 2> /dev/null; then \\\n\t\trm -f {n}.d.tmp; \\\n"
        "\telse \\\n\t\tmv {n}.d.tmp {n}.d; \\\n\tfi\n"
    )
    depend = rng.choice(
        (
            "\t@:\n",
            "\t@cat a.d b.d main.d > deps.tmp 2>/dev/null; cmp -s deps.tmp deps || mv deps.tmp deps; rm -f deps.tmp\n",
            "\t@if egrep '^# DO NOT DELETE' deps 2>/dev/null; then :; else echo '# DO NOT DELETE' > deps; fi\n",
        )
    )
    text = (
        "CNF_CFLAGS=-pthread -m64\nLIB_CFLAGS=-fPIC $(CNF_CFLAGS) $(CFLAGS)\nMKDEPS=-MMD -MF $(@:.o=.d.tmp) -MT $@\n"
        ".SUFFIXES:\nall: build_sw\nbuild_generated: gen.h\nbuild_sw: build_generated\n"
        "\t$(MAKE) depend && $(MAKE) _build_sw\n_build_sw: libx.a prog\ndepend:\n" + depend + ".PHONY: depend\n"
        "gen.h: gen.h.in\n\tsed 's/{-\\(.*\\)-}/\\1/' gen.h.in > $@\n-include deps\n"
    )
    for name in ("a", "b", "main"):
        text += f"{name}.o: {name}.c\n\t$(CC) $(LIB_CFLAGS) -I. $(MKDEPS) -c -o $@ {name}.c\n"
        text += keep.replace("{n}", name)
    text += (
        "libx.a: a.o b.o\n\trm -f $@; $(AR) qc $@ a.o b.o\n\tranlib $@ || echo Never mind.\n"
        "prog: main.o libx.a\n\trm -f prog\n\t$${LDCMD:-$(CC)} $(CNF_CFLAGS) -L. \\\n\t\t-o prog \\\n"
        "\t\tmain.o \\\n\t\t-lx -ldl -pthread\n"
    )
    files = _sources(rng, "ab", include="gen.h") | {"main.c": main_source("a", "b"), "gen.h.in": "#define G {- 3 -}\n"}
    return inside(p, text, files, outputs=("a.o", "libx.a", "a.d"))


@piece
def perl_core(p: str, rng: random.Random) -> Piece:
    """Compile commands that a script prints, a miniperl that makes sources, MakeMaker's double colons below."""
    flags = '#!/bin/sh\ncase $1 in\na.o) extra=-DA;;\n*) extra=;;\nesac\necho "gcc -c -DPERL_CORE $extra"\n'
    say = rng.choice(("`sh cflags $@`", "`sh cflags \"optimize='-O'\" $@ 2>/dev/null` -O0", "$(shell sh cflags $@)"))
    text = (
        f"CCCMD = {say}\n.SUFFIXES:\n.SUFFIXES: .c .o .i .s\n.c.o:\n\t$(CCCMD) $(PLDLFLAGS) $*.c\n"
        ".c.s:\n\t$(CCCMD) -S $*.c\nall: ext/built mini\nobj = a.o $(more)\nmore = b.o\n"
        "mini: $(obj) minimain.o\n\t-@rm -f mini\n\t$(CC) -o mini $(obj) minimain.o\n"
        "minimain.o: minimain.c table.h\na.o: table.h\ntable.h: maketable.sh\n\tsh maketable.sh > table.tmp\n"
        "\tsh ./mv-if-diff table.tmp table.h\n"
        "ext/built: mini ext/x.xs FORCE\n\t@cd ext; if test ! -f Makefile; then cp Makefile.PL Makefile; fi; \\\n"
        "\t  $(MAKE) PERL=../mini PASTHRU='$(CFLAGS)'\nFORCE:\n"
    )
    below = (
        "FIRST_MAKEFILE = Makefile\nOBJ_EXT = .o\nNOECHO = @\nNOOP = :\nCCFLAGS = -fwrapv -fno-strict-aliasing\n"
        "all :: pure_all\n\t$(NOECHO) $(NOOP)\nconfig :: $(FIRST_MAKEFILE)\n\t$(NOECHO) $(NOOP)\n"
        "pure_all :: config built\n\t$(NOECHO) $(NOOP)\n.c$(OBJ_EXT) :\n"
        '\tcc -c $(PASTHRU) $(CCFLAGS) "-I.." -DVERSION=\\"1.0\\" -DXS_VERSION=\\"1.0\\" $*.c\n'
        'x.c : x.xs\n\t$(NOECHO) sh -c \'echo "#line 1 \\"x.xs\\""; cat x.xs\' > x.xsc\n\tmv x.xsc x.c\n'
        "built : x$(OBJ_EXT)\n\trm -f x.so\n\tcc -shared x.o -o x.so\n\tchmod 755 x.so\n\ttouch built\n"
    )
    files = _sources(rng, "b") | {
        "a.c": c_source("a", rng, include="table.h"),
        "minimain.c": main_source("a", "b"),
        "cflags": flags,
        "maketable.sh": "echo '#define TABLE 1'\n",
        "mv-if-diff": 'if test -f "$2" && cmp "$1" "$2"; then rm -f "$1"; else mv "$1" "$2"; fi\n',
        "ext/Makefile.PL": below,
        "ext/x.xs": c_source("x", rng),
    }
    return inside(p, text, files, outputs=("a.o", "table.h", "ext/x.o"))


@piece
def git_like(p: str, rng: random.Random) -> Piece:
    """Quiet words by MAKEFLAGS, flags kept in files that FORCE looks at, depfiles if the compiler can, `-include`."""
    check = rng.choice(
        (
            "dep_check = $(shell $(CC) $(CFLAGS) -c -MF /dev/null -MQ /dev/null -MMD -MP -x c /dev/null -o "
            "/dev/null 2>&1;"
            " echo $$?)\nifeq ($(dep_check),0)\nDEPS = yes\nendif\n",
            "DEPS = yes\n",
            "ifneq ($(shell $(CC) --version | head -n1 | grep -c -i gcc),)\nDEPS = yes\nendif\n",
        )
    )
    text = (
        "all::\n-include config.mak\n" + check + "ifneq ($(findstring w,$(MAKEFLAGS)),w)\nPRINT_DIR = "
        "--no-print-directory\nelse\nNO_SUBDIR = :\nendif\nifneq ($(findstring s,$(firstword "
        "-$(MAKEFLAGS))),s)\nifndef V\n"
        "QUIET_CC = @echo '   ' CC $@;\nQUIET_AR = @echo '   ' AR $@;\nQUIET_SUBDIR0 = +@subdir=\n"
        "QUIET_SUBDIR1 = ;$(NO_SUBDIR) echo '   ' SUBDIR $$subdir; $(MAKE) $(PRINT_DIR) -C $$subdir\nexport V\n"
        "endif\nendif\n"
        "ifndef QUIET_SUBDIR0\nQUIET_SUBDIR0 = +$(MAKE) -C\nendif\n"
        "OBJECTS := a.o builtin/b.o\ndep_files := $(foreach f,$(OBJECTS),$(dir $f).depend/$(notdir $f).d)\n"
        "dep_dirs := $(addsuffix .depend,$(sort $(dir $(OBJECTS))))\n$(dep_dirs):\n\t@mkdir -p $@\n"
        "missing_dep_dirs := $(filter-out $(wildcard $(dep_dirs)),$(dep_dirs))\n"
        "dep_file = $(dir $@).depend/$(notdir $@).d\ndep_args = $(if $(DEPS),-MF $(dep_file) -MQ $@ -MMD -MP)\n"
        "$(OBJECTS): %.o: %.c GIT-CFLAGS $(missing_dep_dirs)\n\t$(QUIET_CC)$(CC) -o $*.o -c $(dep_args) "
        "$(CFLAGS) $(EXTRA) $<\n"
        'a.o: EXTRA = -DPATH=\'"$(subst ",\\",$(prefix))"\'\nprefix = /usr/x y\n'
        "TRACK = $(CC):$(subst ','\\'',$(CFLAGS)):$(prefix)\nGIT-CFLAGS: FORCE\n\t@FLAGS='$(TRACK)'; \\\n"
        '\t    if test x"$$FLAGS" != x"`cat GIT-CFLAGS 2>/dev/null`" ; then \\\n'
        '\t\techo >&2 "    * new build flags"; echo "$$FLAGS" >GIT-CFLAGS; fi\n'
        "lib.a: $(OBJECTS)\n\t$(QUIET_AR)rm -f $@ && $(AR) rcs $@ $^\nall:: lib.a\n"
        "all::\n\t$(QUIET_SUBDIR0)sub $(QUIET_SUBDIR1) all\n"
        "dep_present := $(wildcard $(dep_files))\nifneq ($(dep_present),)\ninclude $(dep_present)\nendif\n"
        ".PHONY: all FORCE\nFORCE:\n"
    )
    files = {
        "a.c": c_source("a", rng, include="cache.h"),
        "builtin/b.c": c_source("b", rng, include="../cache.h"),
        "cache.h": "#define CACHE 1\n",
        "config.mak": rng.choice(("", "CFLAGS = -O1\n", "prefix = '\n", "V = 1\n")),
        "sub/Makefile": "all: c.o\n",
        "sub/c.c": c_source("c", rng),
    }
    return inside(p, text, files, outputs=("a.o", "builtin/b.o", "GIT-CFLAGS"))


@piece
def automake(p: str, rng: random.Random) -> Piece:
    """Non-recursive automake with subdir-objects: `.deps`, dirstamps, `depbase`, remade depfiles, all-recursive."""
    compile_it = rng.choice(
        (
            "\t$(AM_V_CC)depbase=`echo $@ | sed 's|[^/]*$$|$(DEPDIR)/&|;s|\\.o$$||'`;\\\n"
            "\t$(COMPILE) -MT $@ -MD -MP -MF $$depbase.Tpo -c -o $@ $< &&\\\n"
            "\t$(am__mv) $$depbase.Tpo $$depbase.Po\n",
            "\t$(AM_V_CC)$(COMPILE) -MT $@ -MD -MP -MF $(@D)/$(DEPDIR)/$(*F).Tpo -c -o $@ `test -f '$<' || "
            "echo '$(srcdir)/'`$<\n\t$(AM_V_at)$(am__mv) $(@D)/$(DEPDIR)/$(*F).Tpo $(@D)/$(DEPDIR)/$(*F).Po\n",
            "\t$(AM_V_CC)source='$<' object='$@' libtool=no depmode=gcc3 $(COMPILE) -c -o $@ $<\n",
        )
    )
    text = (
        "srcdir = .\nVPATH = .\nDEPDIR = .deps\nam__mv = mv -f\nMKDIR_P = /bin/mkdir -p\nDEFS = -DHAVE_CONFIG_H\n"
        "COMPILE = $(CC) $(DEFS) -I. -I$(srcdir) $(CPPFLAGS) $(CFLAGS)\nAM_V_CC = $(am__v_CC_$(V))\n"
        "am__v_CC_ = $(am__v_CC_0)\n"
        'am__v_CC_0 = @echo "  CC      " $@;\nam__v_CC_1 =\nAM_V_at = $(am__v_at_$(V))\nam__v_at_ = @\n'
        "am__dirstamp = .dirstamp\nSUBDIRS = . sub\nall: config.h\n\t$(MAKE) $(AM_MAKEFLAGS) all-recursive\n"
        ".SUFFIXES:\n.SUFFIXES: .c .o\n"
        "config.h: stamp-h1\n\t@test -f $@ || rm -f stamp-h1\n\t@test -f $@ || $(MAKE) $(AM_MAKEFLAGS) stamp-h1\n"
        "stamp-h1: $(srcdir)/config.h.in\n\t@rm -f stamp-h1\n\tsed 's/#undef \\(.*\\)/#define \\1 1/' "
        "config.h.in > config.h.new\n"
        "\t@cmp -s config.h.new config.h && rm -f config.h.new || mv config.h.new config.h\n\t@echo x > stamp-h1\n"
        "src/$(am__dirstamp):\n\t@$(MKDIR_P) src\n\t@: >>src/$(am__dirstamp)\n"
        "src/$(DEPDIR)/$(am__dirstamp):\n\t@$(MKDIR_P) src/$(DEPDIR)\n\t@: >>src/$(DEPDIR)/$(am__dirstamp)\n"
        "src/a.o: src/$(am__dirstamp) src/$(DEPDIR)/$(am__dirstamp)\nsrc/b.o: src/$(am__dirstamp) "
        "src/$(DEPDIR)/$(am__dirstamp)\n"
        "include ./$(DEPDIR)/main.Po # am--include-marker\ninclude src/$(DEPDIR)/a.Po # am--include-marker\n"
        "am__depfiles_remade = ./$(DEPDIR)/main.Po src/$(DEPDIR)/a.Po\n$(am__depfiles_remade):\n\t@$(MKDIR_P) $(@D)\n"
        "\t@echo '# dummy' >$@-t && $(am__mv) $@-t $@\nam--depfiles: $(am__depfiles_remade)\n"
        f".c.o:\n{compile_it}prog-x.o: main.c\n\t$(COMPILE) -c -o prog-x.o `test -f 'main.c' || echo "
        f"'$(srcdir)/'`main.c\n"
        "prog: main.o src/a.o src/b.o\n\t@rm -f prog\n\t$(CC) -o $@ main.o src/a.o src/b.o\nall-am: prog prog-x.o\n"
        "am__make_running_with_option = case $${target_option-} in ?) ;; *) exit 1;; esac; has_opt=no; "
        "for flg in $(MAKEFLAGS); do case $$flg in *=*|--*) ;; *k*) has_opt=yes;; esac; done; test $$has_opt = yes\n"
        "am__make_keepgoing = (target_option=k; $(am__make_running_with_option))\n"
        "all-recursive:\n\t@fail=; \\\n\tif $(am__make_keepgoing); then failcom='fail=yes'; else failcom='exit "
        "1'; fi; \\\n"
        "\tdot_seen=no; target=`echo $@ | sed s/-recursive//`; \\\n\tlist='$(SUBDIRS)'; \\\n"
        "\tfor subdir in $$list; do \\\n"
        '\t  echo "Making $$target in $$subdir"; \\\n\t  if test "$$subdir" = "."; then dot_seen=yes; '
        'local_target="$$target-am"; \\\n'
        '\t  else local_target="$$target"; fi; \\\n\t  ($(am__cd) $$subdir && $(MAKE) $(AM_MAKEFLAGS) '
        "$$local_target) \\\n"
        '\t  || eval $$failcom; \\\n\tdone; test -z "$$fail"\nam__cd = CDPATH="$${ZSH_VERSION+.}:" && cd\n'
        ".PHONY: all all-am all-recursive am--depfiles\n"
        + rng.choice(("", ".NOEXPORT:\n", "V = 1\n", ".MAKE: all\n.PRECIOUS: Makefile\n"))
    )
    files = {
        "config.h.in": "#undef HAVE_X\n",
        "src/a.c": c_source("a", rng, include="config.h"),
        "src/b.c": c_source("b", rng),
        "main.c": main_source("a", "b"),
        "sub/Makefile": "all: s.o\n.NOEXPORT:\n",
        "sub/s.c": c_source("s", rng),
    }
    return inside(p, text, files, outputs=("src/a.o", "config.h", "prog"))
