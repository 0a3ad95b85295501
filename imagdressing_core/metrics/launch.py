"""The processes of one evaluation, as ``accelerate launch`` or ``torchrun`` starts them: they share the work."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from ..command_line import STOPPED, require_device
from ..errors import IMAGDressingError, first_line, packages

Item = TypeVar("Item")

LONGEST_WAIT = timedelta(days=7)  # for the slowest process


@dataclass(frozen=True)
class Processes:
    """This process among all.

    Attributes:
        index: Its number among all processes.
        count: The number of all processes.
        local_index: Its number on this machine.
    """

    index: int = 0
    count: int = 1
    local_index: int = 0

    @property
    def is_first(self) -> bool:
        return self.index == 0

    def share_of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this process's part: every ``count``-th item from ``index`` on."""
        return items[self.index :: self.count]

    def device_of(self, name: str) -> str:
        """Return the device of this process: ``cuda`` means another GPU for each process of a machine.

        Raises:
            IMAGDressingError: PyTorch cannot use it.
        """
        own = f"cuda:{self.local_index}" if name == "cuda" and self.count > 1 else name
        require_device(own)
        return own

    def gathered(self, mine: Sequence[Item]) -> list[Item]:
        """Return the items of all processes; waits until each has its own.

        Raises:
            IMAGDressingError: another process stopped.
        """
        if self.count == 1:
            return list(mine)
        from accelerate.utils import gather_object

        try:
            return gather_object(list(mine))
        except RuntimeError as error:
            raise IMAGDressingError(
                "Another process stopped before it was done; its own message says why. The scores of this one are "
                "kept: start the command again on all machines."
            ) from error

    def require_same(self, task: Mapping[str, str]) -> None:
        """Raise IMAGDressingError on every process unless all have the same task. task: its parts by name."""
        for index, other in enumerate(self.gathered([task])):
            different = [name for name in task if other.get(name) != task[name]]
            if different:
                name = different[0]
                raise IMAGDressingError(
                    f"The processes have different tasks, so nothing is scored: {name} of process {self.index} is "
                    f"{task[name]}, of process {index} it is {other.get(name)}. Give all the same command and files."
                )


ALONE = Processes()


def launched_process() -> Processes:
    """Return this process as its launcher numbered it, without waiting for the others; alone without a launcher."""
    names = ("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")
    return Processes(*(int(os.environ.get(*name)) for name in names))


def own_device(name: str) -> str:
    """Return :meth:`Processes.device_of` this process."""
    return launched_process().device_of(name)


@contextlib.contextmanager
def child(command: Sequence[str], **options: Any) -> Iterator[Any]:
    """Start a command, and end it where the block ends before it: by an error, or by SIGTERM to this process.

    Args:
        options: Of ``subprocess.Popen``, which is yielded.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()  # only there signals are received
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(STOPPED)) if in_main_thread else None
    try:
        process = subprocess.Popen(command, **options)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def joined_processes() -> Iterator[Processes]:
    """Wait for all processes of the launch and yield this one.

    Only scores travel between them, on the CPU; models run on the device of their process.

    Raises:
        IMAGDressingError: the processes do not meet.
    """
    own = launched_process()
    if own.count == 1:
        yield own
        return
    with packages("Running in several processes"):
        from accelerate import PartialState
    try:
        state = PartialState(cpu=True, timeout=LONGEST_WAIT)
    except (RuntimeError, ValueError) as error:
        raise IMAGDressingError(f"The processes of this launch did not meet: {first_line(error)}.") from error
    try:
        yield own
    finally:
        state.destroy_process_group()
