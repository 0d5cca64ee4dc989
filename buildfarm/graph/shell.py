"""Finds the tool calls in a recipe line as a POSIX shell would make them, without running anything.

It is no shell: command substitution (but automake's, and what the caller knows), globbing, `case`, `while`, functions,
here-documents and arithmetic are not interpreted.  A command that depends on them is given back as text among the
`opaque` ones; a plan has then no unit for it, which costs lookahead and nothing else.  `for` over known words is
unrolled, because that is how serial recursive makefiles are written.

It is one thing, a shell's grammar.

Theory of operation.  A recursive-descent parser over characters (XCU 2.10), which interprets as it reads: the
state is the working directory, variables and what is exported.  A command counts as `certain` unless it stands
behind `||`, in a branch of `if`, or behind a test (`[ -d x ] && make -C x`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from typing import NamedTuple

from buildfarm.graph.shellwords import NAME, NotUnderstoodError, Piece, Word, WordReader, expand
from buildfarm.graph.substitution import substituted
from buildfarm.value import dataclass

_MOST_COMMANDS = 20_000  # of one recipe line; the loop that is longer is not understood
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_REDIRECTION = re.compile(r"[0-9]*(?:<<-?|<>|<&|>&|>>|>\||&>>|&>|<|>)")
_TESTS = frozenset({"test", "[", "[[", "false", "grep", "egrep", "cmp", "diff", "which"})
_SHELLS = frozenset({"sh", "bash", "dash", "ksh", "zsh"})
_CLOSERS = frozenset({"done", "do", "then", "else", "elif", "fi", "esac", "}"})
_NOT_UNDERSTOOD = frozenset({"while", "until", "case", "select", "function"})
_PLAIN = re.compile(r"[A-Za-z0-9_@%+:,./-]+(?: +[A-Za-z0-9_@%+=:,./-]+)*")
"""Words that a shell passes on as they are, the first one no assignment."""
_MEANT_FOR_THE_SHELL = frozenset(
    {*_CLOSERS, *_NOT_UNDERSTOOD, *_SHELLS, "if", "for", "cd", "env", "exec", "command", "time", "nohup"}
    | {"export", "eval", ".", "source"}
)


class Command(NamedTuple):
    """One simple command with its words expanded."""

    argv: tuple[str, ...]
    cwd: str
    environment: Mapping[str, str]  # what the line itself sets: prefixes and exports, over the recipe's own
    certain: bool
    writes: bool = False  # its output goes to a file


class Script(NamedTuple):
    """A recipe line, as far as it was understood."""

    commands: tuple[Command, ...]
    opaque: tuple[str, ...]  # pieces that were not


@dataclass(slots=True)
class _State:
    cwd: str | None
    variables: dict[str, str | None]  # None: set to something unknown
    exported: dict[str, str] = field(default_factory=dict)
    certain: bool = True

    def copy(self) -> _State:
        return _State(self.cwd, dict(self.variables), dict(self.exported), self.certain)


Ask = Callable[[str, str, Mapping[str, str]], str | None]
"""What a command prints in a directory, with variables that the line has set and it sees; None: not known."""


def _nothing_is_there(_: str) -> bool:
    return False


def nobody_knows(_command: str, _cwd: str, _seen: Mapping[str, str]) -> None:
    """The `Ask` that has no answer."""


def parse(
    line: str,
    cwd: str,
    environment: Mapping[str, str],
    exists: Callable[[str], bool] = _nothing_is_there,
    ask: Ask = nobody_knows,
) -> Script:
    """Interpret `line` in the directory `cwd` (absolute) with the recipe's `environment`.  Never raises.

    `exists(path)`: whether a regular file is there, by its absolute path.
    """
    if (words := plain(line)) is not None:  # nearly every compile command
        return Script((Command(tuple(words), cwd, {}, True),), ())
    reader = _Reader(line, exists, ask)
    state = _State(cwd, dict(environment))
    try:
        reader.commands_of(state)
        if reader.at < len(reader.text):
            raise NotUnderstoodError
    except (NotUnderstoodError, RecursionError):
        reader.opaque.append(line[min(reader.command_start, len(line)) :].strip())
    return Script(tuple(reader.commands), tuple(reader.opaque))


def plain(line: str) -> list[str] | None:
    """The words of a line that a shell runs as they are; None: it would interpret them."""
    if not _PLAIN.fullmatch(line):
        return None
    words = line.split()
    return words if words[0].rpartition("/")[2] not in _MEANT_FOR_THE_SHELL else None


class _Reader(WordReader):
    def __init__(self, text: str, exists: Callable[[str], bool], ask: Ask) -> None:
        super().__init__(text)
        self.exists = exists
        self.ask = ask
        self.command_start = 0
        self.writes = False  # the command that is read, so far
        self.commands: list[Command] = []
        self.opaque: list[str] = []

    # --- grammar ---

    def commands_of(self, state: _State) -> None:
        """Commands up to a closing word, a closing parenthesis or the end."""
        while True:
            self.blanks(newlines=True)
            if self.at >= len(self.text) or self.text[self.at] == ")" or self.peek_word() in _CLOSERS:
                return
            self._and_or(state)
            self.blanks()
            if self.text[self.at : self.at + 2] == ";;":
                raise NotUnderstoodError
            if self.text[self.at : self.at + 1] in (";", "\n", "&"):
                self.at += 1
            elif self.at < len(self.text) and self.text[self.at] != ")":
                raise NotUnderstoodError

    def _and_or(self, state: _State) -> None:
        started_certain = state.certain
        tested = self._pipeline(state)
        while (operator := self._operator()) is not None:
            if operator == "||":
                branch = state.copy()
                branch.certain = False
                self._pipeline(branch)
            else:
                state.certain = state.certain and not tested
                tested = self._pipeline(state)
        state.certain = started_certain

    def _operator(self) -> str | None:
        self.blanks()
        found = self.text[self.at : self.at + 2]
        if found in ("&&", "||"):
            self.at += 2
            self.blanks(newlines=True)
            return found
        return None

    def _pipeline(self, state: _State) -> bool:
        """True if the command is a test: what follows behind `&&` is not certain."""
        self.blanks()
        tested = False
        if self.peek_word() == "!":
            self.at += 1
            self.blanks()
            tested = True
        before = state.copy()
        start = len(self.commands)
        tested |= self._command(state)
        self.blanks()
        piped = False
        while self.text[self.at : self.at + 1] == "|" and self.text[self.at : self.at + 2] != "||":
            piped = True
            self.at += 2 if self.text[self.at : self.at + 2] == "|&" else 1
            self.blanks(newlines=True)
            self._command(before.copy())
            self.blanks()
        if piped:  # its parts run in subshells
            state.cwd, state.variables, state.exported = before.cwd, before.variables, before.exported
        return tested and len(self.commands) - start <= 1

    def _command(self, state: _State) -> bool:
        self.command_start = self.at
        first = len(self.commands)
        word = self.peek_word()
        if self.text[self.at : self.at + 1] == "(":
            if self.text[self.at : self.at + 2] == "((":
                raise NotUnderstoodError
            self.at += 1
            self.commands_of(state.copy())
            self._expect(")")
        elif word == "{":
            self.at += 1
            self.commands_of(state)
            self._keyword("}")
        elif word == "for":
            self._for(state)
        elif word == "if":
            self._if(state)
        elif word in _NOT_UNDERSTOOD:
            raise NotUnderstoodError
        else:
            return self._simple(state)
        self._redirections(first)
        return False

    def _for(self, state: _State) -> None:
        self._keyword("for")
        self.blanks()
        name = NAME.match(self.text, self.at)
        if name is None:
            raise NotUnderstoodError
        self.at = name.end()
        self.blanks(newlines=True)
        self._keyword("in")
        words: list[str] | None = []
        while True:
            self.blanks()
            if self.text[self.at : self.at + 1] in (";", "\n", ""):
                break
            expanded = self._expand(self.word(), state)
            words = None if words is None or expanded is None else words + expanded
        if self.text[self.at : self.at + 1] == ";":
            self.at += 1
        self.blanks(newlines=True)
        self._keyword("do")
        body = self.at
        turns: list[str | None] = [*words] if words else [None]
        for value in turns:
            self.at = body
            turn = state if words else state.copy()
            turn.variables[name[0]] = value
            seen = len(self.commands), len(self.opaque)
            self.commands_of(turn)
            if not words:  # none or unknown ones: the body was read for its end only
                del self.commands[seen[0] :], self.opaque[seen[1] :]
                if words is None:
                    self.opaque.append(self.text[body : self.at].strip())
            self._keyword("done")
            if len(self.commands) > _MOST_COMMANDS:
                raise NotUnderstoodError

    def _if(self, state: _State) -> None:
        self._keyword("if")
        self.commands_of(state)
        self._keyword("then")
        branch = state.copy()
        branch.certain = False
        self.commands_of(branch)
        while self.peek_word() == "elif":
            self._keyword("elif")
            branch = state.copy()
            branch.certain = False
            self.commands_of(branch)
            self._keyword("then")
            self.commands_of(branch)
        if self.peek_word() == "else":
            self._keyword("else")
            branch = state.copy()
            branch.certain = False
            self.commands_of(branch)
        self._keyword("fi")

    # --- simple commands ---

    def _simple(self, state: _State) -> bool:
        start = self.at
        words: list[Word] = []
        self.writes = False
        while True:
            self.blanks()
            if self._redirection():
                continue
            if self.text[self.at : self.at + 1] in ("", ";", "\n", "&", "|", ")"):
                break
            if self.text[self.at] == "(":
                raise NotUnderstoodError  # a function
            word_start = self.at
            word = self.word()
            set_to_unknown = _ASSIGNMENT.match(self.text, word_start) if word is None and not words else None
            if set_to_unknown is not None:
                state.variables[set_to_unknown[0][:-1]] = None
            words.append(word)
        text = self.text[start : self.at].strip()
        local: dict[str, str] = {}
        while words and (pair := self._assignment(words[0], state)) is not None:
            name, value = pair
            words.pop(0)
            if words:
                if value is None:
                    self.opaque.append(text)
                    return False
                local[name] = value
            else:
                state.variables[name] = value
                if name in state.exported and value is not None:
                    state.exported[name] = value
        argv: list[str] = []
        for word in words:
            expanded = self._expand(word, state)
            if expanded is None:
                if argv[:1] == ["cd"]:
                    state.cwd = None
                self.opaque.append(text)
                return argv[:1] != [] and argv[0] in _TESTS
            argv += expanded
        if not argv and self.writes:
            argv = [":"]
        return self._run(argv, local, state, text) if argv else False

    def _run(self, argv: list[str], local: dict[str, str], state: _State, text: str) -> bool:
        name = os.path.basename(argv[0])
        if name == "env":
            argv = argv[1:]
            while argv and (_ASSIGNMENT.match(argv[0]) or argv[0] == "-"):
                key, _, value = argv.pop(0).partition("=")
                local[key] = value
            if not argv or argv[0].startswith("-") or "-" in local:
                self.opaque.append(text)
                return False
            return self._run(argv, local, state, text)
        if name in ("exec", "command", "time", "nohup") and len(argv) > 1:
            return self._run(argv[1:], local, state, text)
        if name == "cd":
            self._change_directory(argv, state)
        elif name == "export":
            for word in argv[1:]:
                key, equals, value = word.partition("=")
                known = value if equals else state.variables.get(key)
                state.variables[key] = known
                if known is not None:
                    state.exported[key] = known
        elif name in ("eval", ".", "source"):
            self.opaque.append(text)
        elif name in _SHELLS and len(argv) >= 3 and re.fullmatch("-[eux]*c", argv[1]):
            self._nested(argv[2], local, state)
        elif state.cwd is None:
            self.opaque.append(text)
        else:
            environment = {**state.exported, **local}
            self.commands.append(Command(tuple(argv), state.cwd, environment, state.certain, self.writes))
        return name in _TESTS

    def _nested(self, text: str, local: dict[str, str], state: _State) -> None:
        if state.cwd is None:
            self.opaque.append(text)
            return
        known = {name: value for name, value in state.variables.items() if value is not None}
        exported = {**state.exported, **local}

        def ask(command: str, cwd: str, own: Mapping[str, str]) -> str | None:
            return self.ask(command, cwd, {**exported, **own})

        inner = parse(text, state.cwd, {**known, **exported}, self.exists, ask)
        for command in inner.commands:
            merged = {**exported, **command.environment}
            certain = state.certain and command.certain
            writes = self.writes or command.writes
            self.commands.append(command._replace(environment=merged, certain=certain, writes=writes))
        self.opaque.extend(inner.opaque)

    def _change_directory(self, argv: list[str], state: _State) -> None:
        operands = [word for word in argv[1:] if word not in ("-P", "-L", "--")]
        if len(operands) != 1 or operands[0] == "-" or not operands[0]:
            state.cwd = None
        elif operands[0].startswith("/"):
            state.cwd = os.path.normpath(operands[0])
        elif state.cwd is not None:
            state.cwd = os.path.normpath(os.path.join(state.cwd, operands[0]))

    # --- words ---

    def _expand(self, word: Word, state: _State) -> list[str] | None:
        cwd = state.cwd

        def printed(command: str) -> str | None:
            if cwd is None:
                return None
            found = substituted(command, lambda path: self.exists(os.path.join(cwd, path)))
            if found is not None:
                return found
            seen = dict(state.exported)
            for name in NAME.findall(command):
                value = state.variables.get(name, "")
                if value is None:
                    return None
                if name in state.variables:
                    seen[name] = value
            return self.ask(command, cwd, seen)

        return expand(word, state.variables, printed)

    def _assignment(self, word: Word, state: _State) -> tuple[str, str | None] | None:
        if not word or word[0].quoted or word[0].variable:
            return None
        found = _ASSIGNMENT.match(word[0].text)
        if found is None:
            return None
        rest = (Piece(word[0].text[found.end() :], True), *(replace(p, quoted=True) for p in word[1:]))
        value = self._expand(rest, state)
        return found[0][:-1], "".join(value) if value is not None else None

    # --- small readers ---

    def _keyword(self, word: str) -> None:
        self.blanks(newlines=True)
        if self.peek_word() != word:
            raise NotUnderstoodError
        self.at += len(word)

    def _expect(self, character: str) -> None:
        self.blanks(newlines=True)
        if self.text[self.at : self.at + 1] != character:
            raise NotUnderstoodError
        self.at += 1

    def _redirections(self, first: int) -> None:
        """Those of a compound command, whose commands are `first` and all after it."""
        self.writes = False
        self.blanks()
        while self._redirection():
            self.blanks()
        if self.writes:
            self.commands[first:] = [command._replace(writes=True) for command in self.commands[first:]]

    def _redirection(self) -> bool:
        found = _REDIRECTION.match(self.text, self.at)
        if found is None:
            return False
        if "<<" in found[0]:
            raise NotUnderstoodError
        self.at = found.end()
        self.blanks()
        word = self.word()
        target = word[0].text if word is not None and len(word) == 1 else ""
        duplicates = found[0].endswith("&") and (target.isdigit() or target == "-")
        self.writes |= ">" in found[0] and not duplicates and target != os.devnull
        return True
