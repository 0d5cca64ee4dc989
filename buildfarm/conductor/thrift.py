"""Chooses for each unit whether this machine preprocesses it, or the node does (pump), by what either has cost so far.

It measures nothing itself and knows no recipe.  Preprocessing costs the master's cores, headers cost its link; which
is dearer depends on both, and on how busy they are.  So both are counted in seconds as they passed here: on a busy
processor preprocessing takes longer, on a full link sending does, and the choice leans to the other side by itself.
One unit in `EXPLORED` is preprocessed here in any case, for without that there would be nothing to compare with.
"""

from __future__ import annotations

from dataclasses import dataclass, field

EXPLORED = 64
WEIGHT = 0.2  # of the newest preprocessing in the mean
FORGET = 8e6  # bytes after which an old measurement of the link counts half
FIRST_SECONDS_PER_BYTE = 8e-9  # 1 Gbit/s, until something was sent
FIRST_SECONDS = {"c": 0.015, "c++": 0.15}  # a preprocessing, on a desktop's core
FIRST_BYTES = {"c": 80_000.0, "c++": 400_000.0}  # its text, packed


@dataclass(slots=True)
class _Preprocessing:
    seconds: float
    bytes: float
    asked: int = 0


@dataclass(slots=True)
class Thrift:
    """The costs seen in one build."""

    _by_language: dict[str, _Preprocessing] = field(default_factory=dict)
    _sent: float = 0.0
    _seconds: float = 0.0

    def pump_pays(self, language: str, bytes_: int) -> bool:
        """Whether sending `bytes_` of sources and headers is cheaper than preprocessing them first."""
        mean = self._mean(language)
        mean.asked += 1
        if mean.asked % EXPLORED == 1:
            return False
        rate = self.seconds_per_byte
        return bytes_ * rate <= mean.seconds + mean.bytes * rate

    def preprocessed(self, language: str, seconds: float) -> None:
        """One unit was preprocessed here."""
        mean = self._mean(language)
        mean.seconds += WEIGHT * (seconds - mean.seconds)

    def sent(self, bytes_: int, seconds: float, preprocessed: str | None = None) -> None:
        """A request went over the link; of a unit of the language `preprocessed`, if it was."""
        self._sent += bytes_
        self._seconds += seconds
        if self._sent > FORGET:
            self._sent, self._seconds = self._sent / 2, self._seconds / 2
        if preprocessed is not None:
            mean = self._mean(preprocessed)
            mean.bytes += WEIGHT * (bytes_ - mean.bytes)

    @property
    def seconds_per_byte(self) -> float:
        return self._seconds / self._sent if self._sent else FIRST_SECONDS_PER_BYTE

    def _mean(self, language: str) -> _Preprocessing:
        mean = self._by_language.get(language)
        if mean is None:
            mean = _Preprocessing(FIRST_SECONDS.get(language, 0.1), FIRST_BYTES.get(language, 1e5))
            self._by_language[language] = mean
        return mean
