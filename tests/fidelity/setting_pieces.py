"""Fragments about variables and what is made of them: scopes, exports, generated configuration, compiled headers.

With CMake's and qmake's Makefiles, which are mostly that.  As `pieces`; it runs nothing.
"""

from __future__ import annotations

import random

from tests.fidelity.pieces import Piece, c_source, inside, main_source, piece

_OBJECTS = "%.o: %.c\n\t$(CC) $(CFLAGS) $(EXTRA) -c $< -o $@\n"


@piece
def scopes(p: str, rng: random.Random) -> Piece:
    """Variables of a target, a pattern, a recipe's environment; inherited, private, exported, taken back."""
    setting = rng.choice(
        (
            "all: EXTRA = -DINHERITED\na.o: private EXTRA = -DOWN\n",
            "lib.a: private EXTRA = -DNOT_FOR_OBJECTS\n%.o: EXTRA += -DPATTERN\n",
            "a.o: export CPATH = $(CURDIR)/inc\na.o: EXTRA = -DCPATH_SET\n",
            "export CPATH := inc\nb.o: unexport CPATH\n",
            "export CPATH := inc\nb.o: CPATH =\n",
            ".EXPORT_ALL_VARIABLES:\nC_INCLUDE_PATH = $(CURDIR)/inc\nunexport CFLAGS\n",
            "a.o: export GCC_COLORS =\na.o: export LC_ALL = C\n%.o: export TMPDIR = $(CURDIR)\n",
            "a.% b.%: EXTRA := -DSTEM_$(subst .,_,$(notdir $(CURDIR)))\na.o: override CFLAGS += -DOVER\n",
            "MAKEOVERRIDES =\nall: sub\nsub:\n\t$(MAKE) -f sub.mk\n.PHONY: sub\n",
            "MAKEFLAGS += EXTRA=-DFROM_FLAGS\n",
            "MAKEFLAGS := --no-print-directory $(MAKEFLAGS)\nall: sub\nsub:\n\t$(MAKE) -f sub.mk EXTRA=-Dq\n"
            ".PHONY: sub\n",
            "define EXTRA :=\n-DA \\\n-DB\nendef\nundefine CFLAGS\n",
            "EXTRA = -DLEVEL=$(MAKELEVEL) -DO=$(subst $() ,_,$(origin CC))_$(flavor CC)\n",
            "a.o: EXTRA = -D'S=$(@F) $(<D) $(*F) $(^F)' -DSTEM=$*\n",
            "EXTRA = $(EXTRA_$(@:.o=)) $(EXTRA-$*)\nEXTRA_a = -DA\nEXTRA-b = -DB\n",
            "CPPFLAGS := $(CPPFLAGS) -Iinc\nEXTRA = $(CPPFLAGS) $(if $(findstring k,$(MAKEFLAGS)),-DKEEP)\n",
            "EXTRA = $(shell cat flags)\nflags:\n\techo '-DF' > $@\na.o b.o: flags\n",
            "$(file >flags.rsp,-DRSP -Iinc)\nEXTRA = @flags.rsp\n",
            "EXTRA != echo -DBANG\nEXTRA ?= -DNOT\n",
            "export EXTRA = -DX=$(@F)\na.o b.o: %.o: %.c\n\t$(CC) $$EXTRA -c $< -o $@\n",
            "local = $(eval EXTRA_$@ := -DAT_$(basename $@))$(EXTRA_$@)\nEXTRA = $(local)\n",
            "CC += -pipe\nCC := $(CC) -DIN_CC\n",
            "override CC := cc\nCFLAGS := $(filter-out -O%,$(CFLAGS)) -O2\n",
            ".SILENT: a.o\n.IGNORE: b.o\n.PRECIOUS: a.o\n",
            "export PATH := /bin:/usr/bin\n",
            "unexport\nexport PATH CPATH=inc\n",
        )
    )
    text = f"all: lib.a\n{setting}lib.a: a.o b.o\n\trm -f $@; $(AR) rcs $@ $^\n"
    if "a.o b.o: %.o" not in setting:
        text += _OBJECTS
    files = {
        "a.c": c_source("a", rng) + "#if __has_include(<h.h>)\n#include <h.h>\n#endif\n",
        "b.c": c_source("b", rng) + "#if __has_include(<h.h>)\n#include <h.h>\n#endif\n",
        "inc/h.h": "extern int h;\n",
        "s.c": c_source("s", rng),
        "sub.mk": "all: s.o\n%.o: %.c\n\t$(CC) $(EXTRA) -c $<\n\t@echo '$(MAKEFLAGS)' | tr -d ' ' | cut -c1-3 > "
        "$@.flags\n",
    }
    return inside(p, text, files, outputs=("a.o", "lib.a"))


@piece
def configured(p: str, rng: random.Random) -> Piece:
    """config.mk and config.h by a script of the project's own that asks the compiler; included, remade, or both."""
    configure = (
        "#!/bin/sh\n: ${CC:=gcc}\ntry() { printf '%s\\n' \"$1\" > conf$$.c; $CC -Werror ${2--c} conf$$.c -o conf$$.o "
        "2> /dev/null; s=$?; rm -f conf$$.c conf$$.o; return $s; }\n: > config.tmp\n"
        "try 'int main(void) { return 0; }' '' && echo 'LINKS = 1' >> config.tmp\n"
        "try '#include <no_such.h>' || echo 'NO_SUCH = 1' >> config.tmp\n"
        "try '__thread int x;' && echo 'CFLAGS += -DHAVE_TLS' >> config.tmp\n"
        "echo 'int x;' | $CC -x c -c - -o /dev/null && echo 'OBJS += b.o' >> config.tmp\nmv config.tmp config.mk\n"
        'echo "#define TARGET \\"`$CC -dumpmachine`\\"" > config.h\n'
    )
    how = rng.choice(
        (
            "-include config.mk\nconfig.mk: bin/wrap\n\tCC='$(CC)' ./bin/wrap\n",
            "include config.mk\nconfig.mk config.h: bin/wrap\n\t./bin/wrap\n",
            "ifeq ($(wildcard config.mk),)\nconfig.mk: bin/wrap\n\t./bin/wrap\nelse\ninclude config.mk\nendif\n",
            "$(shell test -f config.mk || ./bin/wrap)\ninclude config.mk\n",
            "ifneq ($(MAKECMDGOALS),clean)\n-include config.mk\nendif\nconfig.mk: bin/wrap Makefile\n"
            "\t@echo configuring; $<\n",
            "X := $(shell ./bin/wrap >&2; cat config.mk | tr '\\n' ' ')\nOBJS := $(if $(findstring b.o,$(X)),b.o)\n",
        )
    )
    text = f"all: prog\nOBJS := a.o main.o\n{how}"
    text += "prog: $(OBJS) b.o\n\t$(CC) -o $@ $(sort $^)\n" + _OBJECTS + "a.o: config.mk\n"
    files = {
        "bin/wrap": configure,
        "a.c": c_source("a", rng, include="config.h"),
        "b.c": c_source("b", rng),
        "main.c": main_source("a", "b"),
    }
    return inside(p, text, files, outputs=("a.o", "config.mk", "config.h"))


@piece
def precompiled(p: str, rng: random.Random) -> Piece:
    """A header compiled first, by a rule of its own; used by name, by `-include` or not; it goes at the end."""
    compiler, flags = "$(CC)", rng.choice(("", "-O1", "-DX"))
    name = rng.choice(("pre.h.gch", "pre.h.gch/c.gch", "out/pre.h.gch"))
    use = "-include out/pre.h" if name.startswith("out") else rng.choice(("-include pre.h", "", "-I. -Winvalid-pch"))
    other = rng.choice((flags, flags, "-DOTHER", "-fPIC"))
    text = (
        f"all: lib.a\n{name}: pre.h\n\t@mkdir -p $(@D) out\n\t{compiler} {flags} -x c-header -c $< -o $@\n"
        f"a.o: a.c {name}\n\t{compiler} {flags} {use} -MMD -c $< -o $@\nb.o: b.c {name}\n"
        f"\t{compiler} {other} {use} -c $< -o $@\n"
        f"c.o: c.c\n\t{compiler} {flags} -c $< -o $@\n-include a.d\n"
        f"lib.a: a.o b.o c.o\n\trm -rf $@ pre.h.gch out/pre.h.gch; $(AR) rcs $@ $^\n"
    )
    files = {f"{n}.c": '#include "pre.h"\n' + c_source(n, rng) for n in "ab"}
    files |= {"pre.h": "#include <stddef.h>\n#define PRE 1\n", "c.c": c_source("c", rng, include="pre.h")}
    files["out/pre.h"] = '#include "../pre.h"\n'
    return inside(p, text, files, outputs=("a.o", "b.o"))


@piece
def cmake_like(p: str, rng: random.Random) -> Piece:
    """CMake's own two Makefiles and build.make: absolute names, an object library, flags.make, a link script."""
    top = (
        "default_target: all\n.PHONY: default_target\n.NOTPARALLEL:\n.SUFFIXES:\nSUFFIXES =\n"
        ".SUFFIXES: .hpux_make_needs_suffix_list\n$(VERBOSE).SILENT:\nSHELL = /bin/sh\nEQUALS = =\n"
        "all: check\n\techo 0 > CMakeFiles/progress.marks\n\t$(MAKE) $(MAKESILENT) -f CMakeFiles/Makefile2 all\n"
        "\trm -f CMakeFiles/progress.marks\n.PHONY: all\ncheck:\n\t@:\n"
    )
    second = (
        "default_target: all\n.SUFFIXES:\n$(VERBOSE).SILENT:\nall: CMakeFiles/x.dir/all CMakeFiles/prog.dir/all\n"
        "CMakeFiles/prog.dir/all: CMakeFiles/x.dir/all\n"
    )
    build: dict[str, str] = {}
    for target, names in (("x", "ab"), ("prog", ("main",))):
        second += (
            f"CMakeFiles/{target}.dir/all:\n"
            f"\t$(MAKE) $(MAKESILENT) -f CMakeFiles/{target}.dir/build.make CMakeFiles/{target}.dir/depend\n"
            f"\t$(MAKE) $(MAKESILENT) -f CMakeFiles/{target}.dir/build.make CMakeFiles/{target}.dir/build\n"
            f"\techo Built target {target}\n.PHONY: CMakeFiles/{target}.dir/all\n"
        )
        objects = [f"CMakeFiles/{target}.dir/src/{name}.c.o" for name in names]
        rules = (
            f".SUFFIXES:\n$(VERBOSE).SILENT:\ncmake_force:\n.PHONY: cmake_force\n"
            f"include CMakeFiles/{target}.dir/depend.make\n"
            f"-include CMakeFiles/{target}.dir/compiler_depend.make\ninclude CMakeFiles/{target}.dir/flags.make\n"
        )
        for name, made in zip(names, objects, strict=True):
            rules += (
                f"{made}: CMakeFiles/{target}.dir/flags.make\n{made}: $(CURDIR)/src/{name}.c\n"
                f"{made}: CMakeFiles/{target}.dir/compiler_depend.ts\n\t@echo Building C object {made}\n"
                f"\t@mkdir -p $(@D)\n"
                f"\t{rng.choice(('', 'ccache '))}/usr/bin/cc $(C_DEFINES) $(C_INCLUDES) $(C_FLAGS) -MD -MT "
                f"{made} -MF {made}.d "
                f"-o {made} -c $(CURDIR)/src/{name}.c\n"
            )
        rules += (
            f"CMakeFiles/{target}.dir/depend:\n\tcd $(CURDIR) && touch -a "
            f"CMakeFiles/{target}.dir/compiler_depend.ts\n"
            f"\tcat CMakeFiles/{target}.dir/src/*.d > CMakeFiles/{target}.dir/compiler_depend.make 2>/dev/null || :\n"
            f".PHONY: CMakeFiles/{target}.dir/depend CMakeFiles/{target}.dir/build\n"
        )
        if target == "prog":
            others = "CMakeFiles/x.dir/src/a.c.o CMakeFiles/x.dir/src/b.c.o"
            rules += f"prog: {objects[0]} {others} CMakeFiles/prog.dir/link.txt\n\tsh CMakeFiles/prog.dir/link.txt\n"
            rules += "CMakeFiles/prog.dir/build: prog\n"
            build["CMakeFiles/prog.dir/link.txt"] = f"/usr/bin/cc  -rdynamic {objects[0]} {others} -o prog \n"
        else:
            rules += f"x: {' '.join(objects)}\n.PHONY: x\nCMakeFiles/x.dir/build: x\n"
        build[f"CMakeFiles/{target}.dir/build.make"] = rules
        build[f"CMakeFiles/{target}.dir/depend.make"] = "# Empty\n"
        build[f"CMakeFiles/{target}.dir/compiler_depend.ts"] = ""
        build[f"CMakeFiles/{target}.dir/flags.make"] = (
            f'C_FLAGS = {rng.choice(("-O2", "-O0 -std=gnu11", "-fPIC"))}\nC_DEFINES = -DD=\\"s\\"\n'
            "C_INCLUDES = -I$(CURDIR)/inc -isystem /usr/include/x\n"
        )
    files = {f"src/{n}.c": c_source(n, rng, include="i.h") for n in "ab"}
    files |= build | {"CMakeFiles/Makefile2": second, "src/main.c": main_source("a", "b"), "inc/i.h": "#define I 1\n"}
    return inside(p, top, files, outputs=("CMakeFiles/x.dir/src/a.c.o", "prog"))


@piece
def qmake_like(p: str, rng: random.Random) -> Piece:
    """qmake's explicit rules for C++ with generated units, and its `sub-x-make_first` for directories."""
    text = (
        "first: all\nMAKEFILE = Makefile\nall: lib/libw.a sub-app\nCXX = g++\nDEFINES = -DQT_NO_DEBUG\n"
        f"CXXFLAGS = -pipe {rng.choice(('-O2', '-O0'))} -Wall -W -D_REENTRANT -fPIC $(DEFINES)\n"
        f"INCPATH = -I. -Iinc -I/usr/share/mkspecs\n"
        "SOURCES = w.cpp \\\n\t\tmoc_w.cpp\nOBJECTS = w.o \\\n\t\tmoc_w.o\n"
        "lib/libw.a: $(OBJECTS)\n\t@test -d lib/ || mkdir -p lib/\n\t-rm -f $@\n\tar cqs lib/libw.a $(OBJECTS)\n"
        "moc_predefs.h:\n\tg++ -pipe -O2 -dM -E -o moc_predefs.h empty.cpp\n"
        'moc_w.cpp: w.h \\\n\t\tmoc_predefs.h\n\tsed -n \'s/^int \\(.*\\);.*SIGNAL/#include "w.h"\\n'
        "int emit_\\1 { return 0; }/p' w.h > moc_w.cpp\n"
        "w.o: w.cpp w.h\n\t$(CXX) -c $(CXXFLAGS) $(INCPATH) -o w.o w.cpp\n"
        "moc_w.o: moc_w.cpp \n\t$(CXX) -c $(CXXFLAGS) $(INCPATH) -o moc_w.o moc_w.cpp\n"
        "sub-app-make_first: FORCE\n\t@test -d app/ || mkdir -p app/\n"
        "\tcd app/ && ( test -e $(MAKEFILE) || cp ../app.pro $(MAKEFILE) ) && $(MAKE) -f $(MAKEFILE) \n"
        "sub-app: lib/libw.a FORCE\n\t@test -d app/ || mkdir -p app/\n"
        "\tcd app/ && ( test -e $(MAKEFILE) || cp ../app.pro $(MAKEFILE) ) && $(MAKE) -f $(MAKEFILE) first\nFORCE:\n"
        ".SUFFIXES: .o .c .cpp .cc\n"
    )
    app = (
        "first: all\nall: Makefile app\napp: ../lib/libw.a main.o\n\tg++ -Wl,-O1 -o app main.o -L../lib -lw\n"
        "main.o: ../main.cpp ../w.h\n\tg++ -c -pipe -O2 -I.. -o main.o ../main.cpp\nMakefile: ../app.pro\n"
        "\tcp ../app.pro Makefile\n"
    )
    files = {
        "w.h": "#ifndef W_H\n#define W_H\nint clicked(void); // SIGNAL\nint emit_clicked(void);\nint w(int);\n#endif\n",
        "w.cpp": f'#include "w.h"\n#include <cstdio>\nint w(int x) {{ int unused; return x + {rng.randrange(9)}; }}\n',
        "empty.cpp": "/* qt */\n",
        "main.cpp": '#include "w.h"\nint main() { return w(emit_clicked()) > 99; }\n',
        "app.pro": app,
    }
    return inside(p, text, files, outputs=("w.o", "moc_w.cpp", "app/main.o"))
