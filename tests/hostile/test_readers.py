"""Whatever a stranger sends is read, or refused with a message; nothing is run or opened, memory is not filled."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from readers import READERS, reads_or_refuses
from support.children import REPOSITORY, child

QUIET = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.large_base_example)
ALWAYS_THE_SAME = settings(
    derandomize=True, database=None, max_examples=150, deadline=None, suppress_health_check=QUIET
)


@pytest.mark.parametrize("name", READERS)
def test_hostile_input_is_read_or_refused_with_a_message(name: str, tmp_path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ALWAYS_THE_SAME(reads_or_refuses(READERS[name], tmp_path))()


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What became of hostile input under an audit hook and with little memory, in a process of its own."""
    script = REPOSITORY / "fuzz" / "run.py"
    done = child(script, "--here", "chosen", "--runs", "200", folder=tmp_path_factory.mktemp("watched"))
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", READERS)
def test_hostile_input_starts_nothing_opens_nothing_and_fills_nothing(counts: dict[str, Any], name: str):
    assert counts[name]["files"] == 200
    assert counts[name]["refused"] > 0


@pytest.mark.parametrize("deed", ["__import__('os').system('true')", "open('/etc/hostname')", "open('executed', 'w')",
                                  "__import__('socket').create_connection(('127.0.0.1', 1))"])  # fmt: skip
def test_the_watch_sees_what_is_forbidden(tmp_path: Path, deed: str):
    """So that a run without findings says something."""
    inside = tmp_path / "inside"
    inside.mkdir()
    code = f"""
import contextlib, pathlib, socket
from watch import Watch
watch = Watch()
with watch.forbidding(pathlib.Path({str(inside)!r})), contextlib.suppress(OSError):
    {deed}
print(len(watch.seen))
"""
    done = child("-c", code, folder=tmp_path)
    assert int(done.stdout) >= 1, done.stderr
