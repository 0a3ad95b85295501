"""Shards: pairs in tar files, read at any position."""

import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.training_set import write_shard

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.training.config import Data, Dropout
from imagdressing_core.training.data import check, read_pairs, whole_pairs
from imagdressing_core.training.pairs import ImageSource
from imagdressing_core.training.samples import PairSamples, SampleMaker, loader


def data(path: Path | str, **entries: Any) -> Data:
    return Data(format="shards", path=str(path), width=32, height=40, fit="pad", **entries)


def samples(shards: Path) -> PairSamples:
    return PairSamples(whole_pairs(data(shards)), SampleMaker(data(shards), Dropout(), (4, 20, 16), seed=5))


def test_shards_are_named_by_glob_or_braces(shards: Path):
    braces = data(shards.parent / "{0..3}.tar")
    assert [pair.name for pair in whole_pairs(braces)] == [pair.name for pair in whole_pairs(data(shards))]
    with pytest.raises(IMAGDressingError, match=r"No shards match .*nothing\*\.tar"):
        whole_pairs(data(shards.parent / "nothing*.tar"))


@pytest.mark.parametrize("workers", [0, 2])
def test_shards_continue_where_they_were_stopped(shards: Path, workers: int):
    def batches(first: int, last: int) -> list[Any]:
        found = loader(samples(shards), range(first, last), 2, workers)
        return [(batch["caption"], batch["draws"].timestep.tolist()) for batch in found]

    whole = batches(0, 11)
    for first in (1, 7):
        assert batches(first, 11) == whole[first:]


def test_a_late_step_reads_its_own_images_and_no_others(shards: Path, monkeypatch: pytest.MonkeyPatch):
    read: list[str] = []
    content = ImageSource.content

    def counted(self: ImageSource) -> bytes:
        read.append(self.name)
        return content(self)

    monkeypatch.setattr(ImageSource, "content", counted)
    next(iter(loader(samples(shards), range(150_000, 150_001), 2, workers=0)))
    assert len(read) == 4


def test_processes_share_shards_of_any_number(shards: Path):
    (whole,) = loader(samples(shards), range(3, 4), 4, workers=0)
    halves = [next(iter(loader(samples(shards), range(3, 4), 2, workers=0, rank=i, processes=2))) for i in (0, 1)]
    assert whole["caption"] == halves[0]["caption"] + halves[1]["caption"]


def test_every_epoch_has_every_pair_of_the_shards_once(shards: Path):
    found = samples(shards)
    for epoch in range(2):
        numbers = {found._pair(8 * epoch + i).captions for i in range(8)}  # pyright: ignore[reportPrivateUsage]
        assert len(numbers) == 8


def test_shards_of_commands_and_addresses_are_copied_once(shards: Path, tmp_path: Path):
    name = f"pipe:cat {shards.parent}/0.tar"
    with pytest.raises(IMAGDressingError, match=r"pipe:cat .* is not a file.*Set data\.copies to a folder"):
        whole_pairs(data(name))
    copies = tmp_path / "copies"
    first = whole_pairs(data(name, copies=copies))
    (shards.parent / "0.tar").unlink()
    again = whole_pairs(data(name, copies=copies))
    assert [pair.captions for pair in first] == [pair.captions for pair in again] == [("a 0",), ("a 1",)]
    assert first[0].garment.open().size == again[0].garment.open().size
    with pytest.raises(IMAGDressingError, match="pipe:exit 3 could not be copied"):
        whole_pairs(data("pipe:exit 3", copies=tmp_path / "more"))
    assert list((tmp_path / "more").iterdir()) == []


def test_processes_that_copy_a_shard_at_the_same_time_all_get_it_whole(shards: Path, tmp_path: Path):
    slow = data(f"pipe:sleep 0.5; cat {shards.parent}/0.tar", copies=tmp_path / "copies")
    with ThreadPoolExecutor() as several:
        found = list(several.map(whole_pairs, [slow] * 4))
    assert [[pair.captions for pair in pairs] for pairs in found] == [[("a 0",), ("a 1",)]] * 4
    assert len(list((tmp_path / "copies").iterdir())) == 1


def test_broken_shards_are_named(shards: Path, pairs: Path, tmp_path: Path):
    (shards.parent / "2.tar").write_bytes((shards.parent / "2.tar").read_bytes()[:700])
    with pytest.raises(IMAGDressingError, match=r"Shard .*2\.tar cannot be read"):
        list(read_pairs(data(shards)))
    write_shard(tmp_path / "plain", pairs, [0])
    with tarfile.open(tmp_path / "packed.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "plain")
    with pytest.raises(IMAGDressingError, match=r"Shard .*packed\.tar\.gz cannot be read: .*uncompressed tar files"):
        whole_pairs(data(tmp_path / "packed.tar.gz"))


def test_a_broken_sample_of_a_shard_is_named(tmp_path: Path):
    from webdataset.writer import TarWriter

    with TarWriter(str(tmp_path / "0.tar")) as tar:
        tar.write({"__key__": "x", "person.png": b"no", "garment.png": b"no", "json": b'{"captions": ["a"]}'})
        tar.write({"__key__": "y", "person.png": b"no", "json": b'{"captions": ["a"]}'})
        tar.write({"__key__": "z", "person.png": b"no", "garment.png": b"no"})
    problems = list(check(data(tmp_path / "0.tar")))
    for part in ("sample y has no image garment.", "sample z.json does not exist", "sample x.person cannot be read"):
        assert [problem for problem in problems if part in problem], problems
    allowed = data(tmp_path / "0.tar", skip_broken=2)
    found = PairSamples(whole_pairs(allowed), SampleMaker(data(tmp_path / "0.tar"), Dropout(), (4, 20, 16), seed=5))
    batch = next(iter(loader(found, range(1), 1, workers=1)))
    assert isinstance(batch, IMAGDressingError)
    assert "0.tar sample x" in str(batch) and "cannot be read as an image" in str(batch)
