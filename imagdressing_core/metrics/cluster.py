"""One run on several machines, by accelerate: each scores its share, then each gets all results."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from ..errors import IMAGDressingError, first_line, packages

Item = TypeVar("Item")

LONGEST_WAIT = timedelta(days=7)  # for the slowest machine


@dataclass(frozen=True)
class WorkShare:
    """Which part of the work is this process's: every ``count``-th item from ``index`` on."""

    index: int = 0
    count: int = 1

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        return items[self.index :: self.count]

    def gathered(self, mine: list[Item]) -> list[Item]:
        """Return the results of all processes; waits until each has its own.

        Raises:
            IMAGDressingError: another process stopped.
        """
        if self.count == 1:
            return mine
        from accelerate.utils import gather_object

        try:
            return gather_object(mine)
        except RuntimeError as error:
            raise IMAGDressingError(
                "Another machine stopped before it was done; its own message says why. The scores of this one are "
                "kept: start the command again on all."
            ) from error


WHOLE = WorkShare()  # of a run on one machine


def join(address: str, machines: int, machine: int) -> WorkShare:
    """Wait for the other machines at ``address``, host:port of machine 0, and return this machine's share.

    Raises:
        IMAGDressingError: the address or the numbers are wrong, or the machines do not meet there.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise IMAGDressingError(f"{address!r} is no address: write host:port, for instance 10.0.0.5:29500.")
    if not 0 <= machine < machines:
        raise IMAGDressingError(f"machine {machine} of {machines}: they are numbered from 0 to {machines - 1}.")
    with packages("Running on several machines"):
        from accelerate import PartialState
    os.environ |= {"MASTER_ADDR": host, "MASTER_PORT": port, "WORLD_SIZE": str(machines), "RANK": str(machine)}
    os.environ |= {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    try:
        state = PartialState(cpu=True, timeout=LONGEST_WAIT)  # only scores travel; models run where they run
    except (RuntimeError, ValueError) as error:
        raise IMAGDressingError(f"The machines did not meet at {address}: {first_line(error)}") from error
    return WorkShare(state.process_index, state.num_processes)
