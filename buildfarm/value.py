"""`dataclass` as the standard library's, for a quarter of the time that a class of it takes to import.

It makes no class of its own kind: fields, `__init__`, slots, `replace` and patterns are the standard library's.

What takes the time there is text: of each class six methods are written, compiled and executed, 0.4 ms a class and a
third of all that a build imports (Python 3.11).  Here one is, `__init__`.  Comparison, hash and repr are shared
functions that know their class's fields.  That nothing assigns to a frozen instance is the type checker's to hold, and
it sees the standard library's decorator; an `__init__` that assigns plainly is also three times as fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    from dataclasses import dataclass as _standard
    from dataclasses import fields
    from operator import attrgetter

    def dataclass(cls=None, /, *, frozen=False, slots=False, eq=True):
        """The decorator; `frozen` with `eq` gives a hash, as in the standard library."""

        def decorate(plain):
            if plain.__doc__ is None:
                plain.__doc__ = plain.__name__  # else its signature is looked up and written down
            made = _standard(plain, eq=False, repr=False, slots=slots)
            if "__repr__" not in made.__dict__:
                made.__repr__ = _repr(made)
            if eq:
                _compare(made, hashable=frozen)
            return made

        return decorate if cls is None else decorate(cls)

    def _compare(made, *, hashable):
        values = _values([field.name for field in fields(made) if field.compare])

        def is_equal(self, other):
            return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

        def hash_of(self):
            return hash(values(self))

        if "__eq__" not in made.__dict__:
            made.__eq__ = is_equal
        if made.__dict__.get("__hash__") is None:
            made.__hash__ = hash_of if hashable else None

    def _values(names):
        """A function from an instance to these attributes' values."""
        return attrgetter(*names) if names else lambda _: ()

    def _repr(made):
        names = [field.name for field in fields(made) if field.repr]

        def text_of(self):
            return f"{self.__class__.__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

        return text_of
