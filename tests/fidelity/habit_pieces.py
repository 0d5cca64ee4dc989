"""Habits of real Makefiles: objects moved and gathered by globs, depfiles mended, stamps, module.mk, build directories.

Each stands in a directory of its own.  As `pieces`; it runs nothing.
"""

from __future__ import annotations

import random

from tests.fidelity.pieces import Piece, c_source, inside, main_source, piece


def _sources(rng: random.Random, names: str, place: str = "") -> dict[str, str]:
    return {f"{place}{name}.c": c_source(name, rng) for name in names}


@piece
def gathered(p: str, rng: random.Random) -> Piece:
    """Objects that are moved, linked, stripped or renamed after the compile; archives of what a glob finds."""
    after = rng.choice(
        (
            "$(CC) -c $< && mkdir -p obj && mv $(@F) $@",
            "mkdir -p obj && $(CC) -c $< -o $@ && strip --strip-debug $@",
            "mkdir -p obj && $(CC) -c $< -o $@ && objcopy --prefix-symbols=x_ $@ obj/x_$(@F)",
            "mkdir -p obj; $(CC) -c $< -o $@ && objcopy --redefine-sym $*=$*_renamed $@ && nm $@ | cut -c20- > $@.nm",
            "mkdir -p obj real; $(CC) -c $< -o real/$(@F) && ln -sf ../real/$(@F) $@",
            "mkdir -p obj; $(CC) -c $< -o obj/.$(@F) && ln -f obj/.$(@F) $@",
            "mkdir -p obj; $(CC) -c $< -o $@.new; cmp -s $@.new $@ && rm -f $@.new || mv -f $@.new $@",
            "mkdir -p obj; $(CC) -c $< -o $@; cp -p $@ $@.keep; mv $@.keep $@",
            "mkdir -p obj; $(CC) -S $< -o obj/$*.s && sed '/\\.ident/d' obj/$*.s | $(CC) -c -x assembler - -o $@",
            "mkdir -p obj; $(CC) -c $< -o $@; install -m 600 $@ $@.i; mv $@.i $@",
            "cp $< obj-$<; mkdir -p obj; $(CC) -c obj-$< -o $@; rm obj-$<",
            "mkdir -p obj; $(CC) -c $< -o $@; objcopy --only-keep-debug $@ $@.sym; objcopy "
            "--add-gnu-debuglink=$@.sym $@",
        )
    )
    gather = rng.choice(
        (
            "rm -f $@; $(AR) rcs $@ obj/*.o",
            "rm -f $@; $(AR) rcs $@ $(sort $(wildcard obj/*.o) $^)",
            "rm -f $@; find obj -name '*.o' | sort | xargs $(AR) rcs $@",
            "rm -f $@; ls obj/*.o > list; $(AR) rcs $@ @list",
            "$(LD) -r -o sum.o obj/[a-c].o && rm -f $@ && $(AR) rcs $@ sum.o",
            "rm -f $@; (cd obj && $(AR) rcs ../$@ `ls *.o`); $(AR) t $@",
            "$(CC) -nostdlib -r -o $@ obj/?.o",
        )
    )
    text = f"all: lib.a\nlib.a: obj/a.o obj/b.o obj/c.o\n\t{gather}\nobj/%.o: %.c\n\t{after}\n"
    return inside(p, text, _sources(rng, "abc"), outputs=("obj/a.o", "lib.a"))


@piece
def in_one_recipe(p: str, rng: random.Random) -> Piece:
    """A recipe that compiles and links; several sources in a call; `&` and `wait` with their statuses."""
    how = rng.choice(
        (
            "$(CC) -c a.c b.c main.c && $(CC) -o $@ a.o b.o main.o",
            "$(CC) -c a.c\n\t$(CC) -c b.c\n\t$(CC) -o $@ main.c a.o b.o",
            "$(CC) -o $@ a.c b.c main.c",
            "$(CC) -c -O1 a.c b.c -DX & $(CC) -c main.c & wait; $(CC) -o $@ *.o",
            'set -e; for s in a b main; do $(CC) -c $$s.c & pids="$$pids $$!"; done; for i in $$pids; do wait '
            "$$i; done; "
            "$(CC) -o $@ a.o b.o main.o",
            "$(CC) -c a.c -o a.o & one=$$!; $(CC) -c b.c -o b.o & wait $$one && wait $$! && $(CC) main.c a.o b.o -o $@",
            "rm -f x.a; $(CC) -c a.c b.c; $(AR) cru x.a a.o b.o; ranlib x.a; rm a.o b.o; $(CC) main.c x.a -o $@",
            "$(foreach s,a b main,$(CC) -c $(s).c -o $(s).o &&) $(CC) -o $@ a.o b.o main.o",
            "$(foreach s,a b main,$(CC) -c $(s).c -o $(s).o$(newline)\t)$(CC) -o $@ a.o b.o main.o",
            "d=`mktemp -d`; $(CC) -c a.c -o $$d/a.o && $(CC) -c b.c -o $$d/b.o && $(CC) main.c $$d/?.o -o $@; "
            "rm -r $$d",
            "echo '-c' > opts; echo 'a.c b.c' >> opts; $(CC) @opts && $(CC) -o $@ main.c a.o b.o",
            "if test x$(DEBUG) = x; then f=-O1; else f=-g; fi; $(CC) $$f -c a.c b.c; $(CC) -o $@ $$f main.c [ab].o",
            "(set -x; $(CC) -c a.c; $(CC) -c b.c) 2> log; $(CC) -o $@ main.c a.o b.o 2>&1 | tee -a log",
            "case `uname -s` in Linux) $(CC) -c a.c b.c;; *) exit 1;; esac; $(CC) -o $@ main.c a.o b.o",
            "$(CC) -c a.c -o a.o; $(CC) -c b.c -o b.o; $(LD) -r a.o b.o -o ab.o; $(CC) main.c ab.o -o $@",
            "printf 'a\\nb\\n' | while read n; do $(CC) -c $$n.c -o $$n.o < /dev/null || exit; done; $(CC) -o "
            "$@ main.c a.o b.o",
        )
    )
    text = f"define newline\n\n\nendef\nall: out\nout: prog\n\t./prog > $@\nprog: a.c b.c main.c\n\t{how}\n"
    files = _sources(rng, "ab") | {"main.c": main_source("a", "b")}
    return inside(p, text, files, outputs=("prog",))


@piece
def mended_depfiles(p: str, rng: random.Random) -> Piece:
    """Depfiles that sed, mv or a second include mend: Tromey's, Smith's, one `.depend` for all, makedepend's tail."""
    manner = rng.randrange(7)
    names = ("a", "b")
    head, recipe, tail = "", "$(CC) -c $< -o $@", ""
    match manner:
        case 0:
            recipe = (
                "$(CC) -MD -c $< -o $@\n\t@cp $*.d $*.P; \\\n\t  sed -e 's/#.*//' -e 's/^[^:]*: *//' -e 's/ "
                "*\\\\$$//' \\\n"
                "\t      -e '/^$$/ d' -e 's/$$/ :/' < $*.d >> $*.P; \\\n\t  rm -f $*.d"
            )
            tail = "-include a.P b.P\n"
        case 1:
            head = (
                "DEPDIR := .d\n$(shell mkdir -p $(DEPDIR) >/dev/null)\n"
                "DEPFLAGS = -MT $@ -MMD -MP -MF $(DEPDIR)/$*.Td\n"
                "POSTCOMPILE = @mv -f $(DEPDIR)/$*.Td $(DEPDIR)/$*.d && touch $@\n"
            )
            recipe = "$(CC) $(DEPFLAGS) -c $< -o $@\n\t$(POSTCOMPILE)"
            tail = "a.o: $(DEPDIR)/a.d\nb.o: $(DEPDIR)/b.d\n$(DEPDIR)/%.d: ;\n.PRECIOUS: $(DEPDIR)/%.d\n"
            tail += "-include $(DEPDIR)/a.d $(DEPDIR)/b.d\n"
        case 2:
            head = "DEPFILES := a.dep b.dep\n"
            recipe = "$(CC) -MT $@ -MMD -MP -MF $*.dep -c -o $@ $<"
            tail = "a.o: a.dep\nb.o: b.dep\n$(DEPFILES):\ninclude $(wildcard $(DEPFILES))\n"
        case 3:
            tail = ".depend: a.c b.c\n\trm -f .depend\n\t$(CC) $(CFLAGS) -MM $^ > .depend\ninclude .depend\n"
        case 4:
            tail = "depend: a.c b.c\n\t$(CC) -MM a.c b.c | sed 's|^\\([a-z]\\)|./\\1|' > .deps.mk\n"
            tail += "all: depend\n-include .deps.mk\n"
        case 5:
            recipe = '$(CC) -MMD -MF $*.tmp -c $< -o $@; { cat $*.tmp; echo "$*.tmp:"; } > $*.d; rm $*.tmp'
            tail = "-include $(patsubst %.c,%.d,$(wildcard *.c))\n%.d: ;\n"
        case _:
            recipe = "$(CC) -Wp,-MD,$(@D)/.$(@F).d -c $< -o $@ && (echo -n '$(@D)/'; cat $(@D)/.$(@F).d) > $*.d"
            tail = "-include *.d\n"
    text = f"{head}all: lib.a\nlib.a: a.o b.o\n\trm -f $@; $(AR) rcs $@ $^\na.o b.o: %.o: %.c\n\t{recipe}\n{tail}"
    files = {f"{name}.c": c_source(name, rng, include=f"{name}.h") for name in names}
    files |= {"a.h": '#include "both.h"\n', "b.h": '#include "both.h"\n', "both.h": "#define BOTH 2\n"}
    return inside(p, text, files, outputs=("a.o", "lib.a"))


@piece
def stamped(p: str, rng: random.Random) -> Piece:
    """A stamp stands for many objects or generated files; who waits for it, and how what it stands for is named."""
    body = rng.choice(
        (
            "objs.stamp: a.c b.c gen.h\n\tset -e; for s in a b; do $(CC) -c $$s.c -o $$s.o; done\n"
            "\t@sleep 0.02; touch $@\na.o b.o: objs.stamp ;\n",
            "objs.stamp: a.c b.c | gen.h\n\t@rm -f $@.tmp; touch $@.tmp\n\t$(CC) -c a.c b.c\n\t@mv -f $@.tmp $@\n"
            "a.o b.o: objs.stamp\n\t@if test -f $@; then :; else rm -f objs.stamp; $(MAKE) objs.stamp; fi\n",
            "a.o b.o: gen.h\na.o b.o: %.o: %.c\n\t$(CC) -c $<\n",
            "%.stamp: %.c gen.h\n\t$(CC) -c $< -o $*.o && sleep 0.02 && echo done > $@\na.o: a.stamp ;\n"
            "b.o: b.stamp ;\n",
            ".PHONY: objects\nobjects: gen.h\n\t@$(MAKE) --no-print-directory -f objects.mk\na.o b.o: objects ;\n",
        )
    )
    generate = rng.choice(
        (
            "gen.h: gen.stamp ;\ngen.stamp: list\n\tsed 's/.*/#define & 1/' list > gen.h.tmp\n"
            "\tcmp -s gen.h.tmp gen.h || cp gen.h.tmp gen.h\n\tsleep 0.02; touch $@\n",
            "gen.h: list\n\t@echo GEN $@; sed 's/.*/#define & 1/' $< > $@\n",
            "gen.h: tool list\n\t./tool < list > $@\ntool: tool.c\n\t$(CC) -o $@ $<\n",
        )
    )
    text = f"all: lib.a\nlib.a: a.o b.o\n\trm -f $@; $(AR) rc $@ a.o b.o\n{generate}{body}"
    files = {f"{name}.c": c_source(name, rng, include="gen.h") for name in "ab"} | {
        "list": "ONE\nTWO\n",
        "tool.c": '#include <stdio.h>\nint main(void) { char s[9]; while (scanf("%8s", s) == 1) '
        'printf("#define %s 1\\n", s); return 0; }\n',
        "objects.mk": "all: a.o b.o\na.o: a.c\n\t$(CC) -c $<\nb.o: b.c\n\t$(CC) -c $<\n",
    }
    return inside(p, text, files, outputs=("a.o", "gen.h"))


@piece
def modules_of_makefiles(p: str, rng: random.Random) -> Piece:
    """One make for many directories: module.mk with a stack of directories, lists by `eval` and `wildcard`."""
    manner = rng.randrange(4)
    if manner == 0:
        text = "all:\nCOMP = $(CC) $(CF_ALL) $(CF_TGT) -o $@ -c $<\ndir := sub\ninclude $(dir)/Rules.mk\n"
        text += "all: $(OBJS)\n\trm -f lib.a; $(AR) rcs lib.a $^\n%.o: %.c\n\t$(COMP)\n"
        rules = (
            "sp := $(sp).x\ndirstack_$(sp) := $(d)\nd := $(dir)\nOBJS_$(d) := $(d)/a.o $(d)/b.o\n"
            "$(OBJS_$(d)): CF_TGT := "
            "-I$(d) -DDIR=$(d)\nOBJS += $(OBJS_$(d))\nd := $(dirstack_$(sp))\nsp := $(basename $(sp))\n"
        )
        extra = {"sub/Rules.mk": rules}
    elif manner == 1:
        text = (
            "all: lib.a\nmy-dir = $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))\ndefine build_static\n"
            "OBJS += $(addprefix out/,$(LOCAL_SRC:.c=.o))\nout/%.o: $(LOCAL_PATH)/%.c\n\t@mkdir -p $$(@D)\n"
            "\t$$(CC) $(LOCAL_CFLAGS) -c $$< -o $$@\nendef\n"
            "$(foreach m,$(sort $(wildcard */module.mk)),$(eval include $(m))$(eval $(call build_static)))\n"
            "lib.a: $(OBJS)\n\trm -f $@; $(AR) rcs $@ $(OBJS)\n"
        )
        extra = {"sub/module.mk": "LOCAL_PATH := $(my-dir)\nLOCAL_SRC := a.c b.c\nLOCAL_CFLAGS := -DM\n"}
    elif manner == 2:
        text = (
            "MODULES := sub\nSRC :=\nCFLAGS += $(patsubst %,-I%,$(MODULES))\n"
            "include $(patsubst %,%/module.mk,$(MODULES))\n"
            "OBJ := $(patsubst %.c,%.o,$(filter %.c,$(SRC)))\nall: lib.a\nlib.a: $(OBJ)\n"
            "\trm -f $@; $(AR) rcs $@ $(OBJ)\n"
            "include $(OBJ:.o=.d)\n%.d: %.c\n\t./bin/wrap `dirname $*.c` $(CFLAGS) $*.c > $@\n"
        )
        extra = {
            "sub/module.mk": "SRC += sub/a.c sub/b.c\n",
            "bin/wrap": '#!/bin/sh\nD="$1"; shift\ngcc -MM -MG "$@" | sed -e "s@^\\(.*\\)\\.o:@$D/\\1.d $D/\\1.o:@"\n',
        }
    else:
        text = (
            "all: lib.a\nsubdirs := sub\nsources = $(call rwildcard,sub/,*.c)\nrwildcard = $(sort $(wildcard $1$2) "
            "$(foreach d,$(wildcard $1*),$(call rwildcard,$d/,$2)))\nBUILD := build\n"
            "objects := $(patsubst %.c,$(BUILD)/%.o,$(sources))\nlib.a: $(objects)\n\trm -f $@; $(AR) rcs $@ $^\n"
            "$(BUILD)/%.o: %.c | $(sort $(dir $(objects)))\n\t$(CC) -c $< -o $@\n$(sort $(dir $(objects))):\n"
            "\tmkdir -p $@\n"
        )
        extra = {}
    files = _sources(rng, "ab", "sub/") | extra
    return inside(p, text, files, outputs=("lib.a", "sub/a.o"))


@piece
def build_directories(p: str, rng: random.Random) -> Piece:
    """Objects elsewhere: Smith's jump into `_obj`, `O=`, a build for each configuration, linked sources."""
    manner = rng.randrange(5)
    rules = "all: lib.a\nlib.a: a.o b.o\n\trm -f $@; $(AR) rcs $@ $^\n%.o: %.c\n\t$(CC) $(CFLAGS) -c -o $@ $<\n"
    extra: dict[str, str] = {}
    if manner == 0:
        target = (
            ".SUFFIXES:\nOBJDIR := _obj\nMAKETARGET = $(MAKE) --no-print-directory -C $@ -f $(CURDIR)/Makefile "
            "SRCDIR=$(CURDIR) $(MAKECMDGOALS)\n.PHONY: $(OBJDIR)\n$(OBJDIR):\n\t+@[ -d $@ ] || mkdir -p $@\n"
            "\t+@$(MAKETARGET)\nMakefile : ;\n%.mk :: ;\n% :: $(OBJDIR) ; :\n"
        )
        extra["target.mk"] = target
        text = "all:\nifeq (,$(filter _%,$(notdir $(CURDIR))))\ninclude target.mk\n"
        text += f"else\nVPATH = $(SRCDIR)\n{rules}endif\n"
        place = "_obj"
    elif manner == 1:
        text = (
            "ifeq ($(O),)\nall:\n\t@mkdir -p out\n\t$(MAKE) -C out -f $(CURDIR)/Makefile O=out "
            "srctree=$(CURDIR)\nelse\n"
            f"VPATH := $(srctree)\n{rules}endif\n"
        )
        place = "out"
    elif manner == 2:
        text = (
            "all: debug release\ndebug: export CFLAGS += -DDEBUG\ndebug release:\n\t@mkdir -p $@\n"
            "\t+$(MAKE) -C $@ -f ../rules.mk VPATH=..\n.PHONY: all debug release\n"
        )
        extra["rules.mk"] = rules
        place = "debug"
    elif manner == 3:
        text = (
            "all: $(addprefix small/,a.o b.o) $(addprefix large/,a.o b.o)\n\trm -f lib.a; $(AR) rcs lib.a $^\n"
            "small/%.o: CFLAGS += -Os\nlarge/%.o: CFLAGS += -O3\n"
            "small/%.o: %.c\n\t@mkdir -p $(@D)\n\t$(CC) $(CFLAGS) -c $< -o $@\n"
            "large/%.o: %.c\n\t@mkdir -p $(@D)\n\t$(CC) $(CFLAGS) -c $< -o $@\n"
        )
        place = "small"
    else:
        text = (
            "all: | links\n\t$(MAKE) -C build -f ../rules.mk\nlinks:\n\tmkdir -p build\n"
            "\tfor f in a b; do ln -sf ../$$f.c build/$$f.c; done\n.PHONY: all\n"
        )
        extra["rules.mk"] = rules
        place = "build"
    files = _sources(rng, "ab") | extra
    return inside(p, text, files, outputs=(f"{place}/a.o", f"{place}/lib.a"))
