"""What can go wrong between here and a node, as exceptions, one class per outcome of the journal's.

They carry no node and no unit; who catches one knows both.  A fault leads to another attempt, never to a failed
unit.  What a whole answer says of its node is `verdict`'s affair.
"""

from __future__ import annotations

from typing import ClassVar


class NodeFault(Exception):
    """An attempt ended through its node's fault.  `outcome` is the journal's word, `reason` one line for people."""

    outcome: ClassVar[str] = "lost"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NodeRefused(NodeFault):
    """No connection, or closed before an answer, or the node lacks what the unit needs."""

    outcome = "refused"


class NodeForbidden(NodeRefused):
    """The node's address is one that we must not send sources to."""


class NodeLost(NodeFault):
    """The connection broke after the unit was sent."""

    outcome = "lost"


class NodeLate(NodeFault):
    """A phase took longer than its deadline."""

    outcome = "late"


class NodeCorrupt(NodeFault):
    """The node sent something that is no answer."""

    outcome = "corrupt"
