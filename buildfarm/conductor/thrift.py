"""Chooses for each unit whether this machine preprocesses it, or the node does (pump), by what either has cost so far.

It measures nothing itself and knows no recipe.  Preprocessing costs the master's cores, headers cost its link and the
node's time (distccd writes and removes every file that it is sent); which is dearer depends on all three, and on how
busy they are.  So each is counted in seconds as they passed here, shared by what there is of it: a farm of few slots
has units preprocessed here, a farm of many has them preprocessed there.  Now and then a unit goes the dearer way, for
without that there would be nothing to compare with: the first two go one way each, then one in `EXPLORED`, and ever
fewer, one in `EXPLORED_LAST` in the end, while the choice stays what it was.  While nodes preprocess, the first such
trial waits for `RARER * EXPLORED` units: it would cost this machine what it spends on ten others.
"""

from __future__ import annotations

from dataclasses import field

from buildfarm.value import dataclass

EXPLORED, EXPLORED_LAST = 64, 1024
RARER = 4  # times
WEIGHT = 0.2  # of the newest measurement in a mean
FORGET = 8e6  # bytes after which an old measurement of the link counts half
FIRST_SECONDS_PER_BYTE = 8e-9  # 1 Gbit/s, until something was sent
FIRST_SECONDS = {"c": 0.015, "c++": 0.15}  # a preprocessing, on a desktop's core
FIRST_BYTES = {"c": 80_000.0, "c++": 400_000.0}  # its text, packed
SECONDS_PER_FILE = 0.001  # that a node takes over each file that it is sent: distccd writes and removes them all
SLOWEST_FILE = 0.01  # the same beyond that, on a bad SD card
SLOWEST_NODE = 3.0  # times as long as here for a node to preprocess: a Raspberry Pi's core beside a desktop's


@dataclass(slots=True)
class _Costs:
    preprocessing: float  # seconds here
    bytes: float  # of a preprocessed text
    asked: int = 0
    explored_at: int = EXPLORED  # when `asked` is this, the dearer way is tried
    interval: int = EXPLORED
    last: bool | None = None  # the choice when it was tried before
    plain: float | None = None  # seconds on a node, with what was preprocessed here
    pumped: float | None = None  # and with what was not, the files' share left out

    def there(self, files: int) -> float:
        """Seconds that a node takes over it: what units took with and without, as far as that can be the reason.

        Units differ by much more than that, and the longest may have gone first.
        """
        difference = 0.0 if self.plain is None or self.pumped is None else self.pumped - self.plain
        most = SLOWEST_NODE * self.preprocessing + SLOWEST_FILE * files
        return min(max(difference, -most), most) + files * SECONDS_PER_FILE


@dataclass(slots=True)
class Thrift:
    """The costs seen in one build, on a master of so many cores."""

    cores: int
    _by_language: dict[str, _Costs] = field(default_factory=dict)
    _sent: float = 0.0
    _seconds: float = 0.0

    def pump_pays(self, language: str, bytes_: int, files: int, slots: int) -> bool:
        """Whether sending sources and headers to one of `slots` is cheaper than preprocessing first."""
        costs = self._costs(language)
        costs.asked += 1
        if costs.asked <= 2:
            return costs.asked == 2
        rate = self.seconds_per_byte
        here = costs.preprocessing / self.cores + costs.bytes * rate
        pays = bytes_ * rate + costs.there(files) / max(1, slots) <= here
        if pays and costs.interval == EXPLORED and costs.last is None:
            costs.interval = costs.explored_at = RARER * EXPLORED
        if costs.asked <= costs.explored_at:
            return pays
        costs.interval = min(RARER * costs.interval, EXPLORED_LAST) if costs.last in (None, pays) else EXPLORED
        costs.explored_at, costs.last = costs.asked - 1 + costs.interval, pays
        return not pays

    def preprocessed(self, language: str, seconds: float) -> None:
        """One unit was preprocessed here."""
        costs = self._costs(language)
        costs.preprocessing += WEIGHT * (seconds - costs.preprocessing)

    def compiled(self, language: str, seconds: float, *, pumped: int | None) -> None:
        """A node had one unit for so long; `pumped`: of so many files."""
        costs = self._costs(language)
        if pumped is not None:
            costs.pumped = _mean(costs.pumped, max(0.0, seconds - pumped * SECONDS_PER_FILE))
        else:
            costs.plain = _mean(costs.plain, seconds)

    def sent(self, bytes_: int, seconds: float, preprocessed: str | None = None) -> None:
        """A request went over the link; of a unit of the language `preprocessed`, if it was."""
        self._sent += bytes_
        self._seconds += seconds
        if self._sent > FORGET:
            self._sent, self._seconds = self._sent / 2, self._seconds / 2
        if preprocessed is not None:
            costs = self._costs(preprocessed)
            costs.bytes += WEIGHT * (bytes_ - costs.bytes)

    @property
    def seconds_per_byte(self) -> float:
        return self._seconds / self._sent if self._sent else FIRST_SECONDS_PER_BYTE

    def _costs(self, language: str) -> _Costs:
        costs = self._by_language.get(language)
        if costs is None:
            costs = _Costs(FIRST_SECONDS.get(language, 0.1), FIRST_BYTES.get(language, 1e5))
            self._by_language[language] = costs
        return costs


def _mean(mean: float | None, value: float) -> float:
    return value if mean is None else mean + WEIGHT * (value - mean)
