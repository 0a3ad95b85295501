"""Data in its three formats: what is whole is read, what is broken is named, and positions mean the same everywhere."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image
from support.training_set import drawn_image, write_folder

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.training.config import Data, Dropout
from imagdressing_core.training.data import check, cover, read_pairs, whole_pairs
from imagdressing_core.training.pairs import PackedPairs, TrainingPair
from imagdressing_core.training.samples import PairSamples, SampleMaker, conditioning_dropout, loader

LATENT = (4, 20, 16)


def data(form: Any, path: Path, **entries: Any) -> Data:
    return Data(format=form, path=str(path), width=32, height=40, fit="pad", **entries)


@pytest.fixture
def igpair(pairs: Path, tmp_path: Path) -> Path:
    entries = [{"image_file": f"person{i}.png", "cloth_file": f"garment{i}.png", "text": [f"a {i}"]} for i in range(8)]
    path = tmp_path / "IGPair.json"
    path.write_text(json.dumps([entry | {"cloth_type": "top"} for entry in entries]))
    return path


def test_all_formats_give_the_same_pairs(pairs: Path, igpair: Path, shards: Path):
    read = [
        whole_pairs(one) for one in (data("igpair", igpair, root=pairs), data("folder", pairs), data("shards", shards))
    ]
    assert [len(one) for one in read] == [8, 8, 8]
    for entries in zip(*read, strict=True):
        assert len({entry.captions[0] for entry in entries}) == 1
        for part in ("person", "garment"):
            assert len({getattr(entry, part).open().tobytes() for entry in entries}) == 1


def test_every_broken_entry_is_named_before_training(pairs: Path, tmp_path: Path):
    folder = write_folder(tmp_path / "data", 3)
    (folder / "cut.png").write_bytes((folder / "person0.png").read_bytes()[:100])
    (folder / "text.png").write_text("hello")
    drawn_image(1, (12, 300)).save(folder / "narrow.png")
    drawn_image(1, (8, 9)).save(folder / "small.png")
    good = {"person": "person0.png", "garment": "garment0.png", "captions": ["a"]}
    broken = {
        "does not exist": good | {"person": "nowhere.png"},
        "cut.png cannot be read as an image": good | {"garment": "cut.png"},
        "text.png cannot be read as an image": good | {"garment": "text.png"},
        "narrow.png is 12 × 300: at 32 × 40 no side may": good | {"person": "narrow.png"},
        "small.png is 8 × 9: at 32 × 40 no side may have less than 32 pixels": good | {"garment": "small.png"},
        "has an empty caption under captions: found '  '": good | {"captions": ["a", "  "]},
        "has no captions under captions: found []": good | {"captions": []},
        "has no captions under captions: found None": {"person": "person0.png", "garment": "garment0.png"},
        "names no garment: found None": {"person": "person0.png", "captions": ["a"]},
        "names no person: found 3": good | {"person": 3},
        "is a list, expected an object": [],
    }
    lines = [json.dumps(entry) for entry in broken.values()]
    with (folder / "manifest.jsonl").open("a") as file:
        file.write("\n".join([*lines, '{"person": ']))
    problems = list(check(data("folder", folder)))
    assert len(problems) == len(broken) + 1, "\n".join(problems)
    for i, message in enumerate([*broken, "is no JSON"], 4):
        (found,) = [problem for problem in problems if f"manifest.jsonl line {i}" in problem]
        assert message in found
    problem = r"7 of 15 entries of .* are broken, data\.skip_broken is 0 \(first: .*line 9.*The command check"
    with pytest.raises(IMAGDressingError, match=problem):
        whole_pairs(data("folder", folder))
    left = whole_pairs(data("folder", folder, skip_broken=7))
    assert (len(left), len(left.broken)) == (8, 7)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "IGPair.json is no JSON"),
        ("{}", "holds a dict; IGPair's JSON is a list"),
        ("[]", "has no entries"),
        (None, "IGPair.json does not exist"),
    ],
)
def test_a_wrong_json_is_called_what_it_is(tmp_path: Path, content: str | None, message: str):
    path = tmp_path / "IGPair.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(IMAGDressingError, match=message):
        whole_pairs(data("igpair", path))


def test_data_without_entries_are_a_problem_for_the_check_too(tmp_path: Path):
    (tmp_path / "manifest.jsonl").write_text("\n")
    assert list(check(data("folder", tmp_path))) == [f"{tmp_path} has no entries."]


def test_a_folder_without_a_manifest_is_named(tmp_path: Path):
    with pytest.raises(IMAGDressingError, match=r"manifest\.jsonl does not exist"):
        whole_pairs(data("folder", tmp_path / "empty"))


@pytest.mark.parametrize("size", [(100, 100), (400, 100), (100, 400), (32, 40), (31, 41), (16, 16), (1, 50)])
def test_no_aspect_is_too_much_for_the_crop(size: tuple[int, int]):
    assert cover(drawn_image(1, size), 32, 40, 0.3, 0.9).size == (32, 40)


def test_a_tall_image_is_cropped_as_officially():
    tall = Image.linear_gradient("L").resize((64, 256)).convert("RGB")
    top, bottom = (cover(tall, 32, 40, 0.5, down) for down in (0.0, 1.0))
    shrunk = tall.resize((32, 128), Image.Resampling.BILINEAR)
    for cropped, box in ((top, (0, 0, 32, 40)), (bottom, (0, 88, 32, 128))):
        apart = numpy.asarray(cropped).astype(int) - numpy.asarray(shrunk.crop(box))
        assert abs(apart).max() <= 2


def test_images_are_upright_and_on_white(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    drawn_image(1, (80, 60)).save(tmp_path / "turned.jpg", exif=exif)
    Image.new("RGBA", (70, 70), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    entry = {"person": "turned.jpg", "garment": "clear.png", "captions": "one text"}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(entry))
    (pair,) = whole_pairs(data("folder", tmp_path))
    assert pair.person.open().size == (60, 80)
    assert pair.garment.open().getpixel((5, 5)) == (255, 255, 255)
    assert pair.captions == ("one text",)


def test_dropout_is_the_official_one():
    draws = [(i + 0.5) / 1000 for i in range(1000)]
    dropped = Counter((one.image, one.text) for one in (conditioning_dropout(Dropout(), draw, 0.9) for draw in draws))
    assert dropped == {(True, False): 50, (False, True): 50, (True, True): 50, (False, False): 850}
    assert conditioning_dropout(Dropout(garment_latent=0.1), 0.9, 0.05).garment_latent
    assert not conditioning_dropout(Dropout(), 0.9, 0.0).garment_latent


def maker(pairs: Path, **entries: Any) -> SampleMaker:
    return SampleMaker(data("folder", pairs, **entries), Dropout(), LATENT, seed=5)


def test_a_sample_is_a_function_of_its_position(pairs: Path):
    entries = whole_pairs(data("folder", pairs))
    one, other = (PairSamples(entries, maker(pairs)) for _ in range(2))
    for position in (0, 7, 8, 1000):
        a, b = one[position], other[position]
        assert isinstance(a, dict) and isinstance(b, dict)
        assert {name: str(value) for name, value in a.items()} == {name: str(value) for name, value in b.items()}
    noises = {str(sample["draws"].noise[0, 0]) for i in range(16) if isinstance(sample := one[i], dict)}
    assert len(noises) == 16


def test_each_epoch_has_every_pair_once(pairs: Path):
    entries = whole_pairs(data("folder", pairs))
    quiet = SampleMaker(data("folder", pairs), Dropout(text=0, both=0), LATENT, seed=5)
    samples = PairSamples(entries, quiet)
    epochs = [[_number(samples[8 * epoch + i]) for i in range(8)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(8)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def _number(sample: Any) -> int:
    return int(sample["caption"].split()[-1])


def test_two_processes_share_out_the_samples_of_one(pairs: Path):
    samples = PairSamples(whole_pairs(data("folder", pairs)), maker(pairs))
    (whole,) = loader(samples, range(3, 4), 4, workers=0)
    halves = [next(iter(loader(samples, range(3, 4), 2, workers=0, rank=rank, processes=2))) for rank in (0, 1)]
    assert isinstance(whole, dict)
    assert whole["caption"] == halves[0]["caption"] + halves[1]["caption"]
    assert whole["draws"].timestep.tolist() == [t for half in halves for t in half["draws"].timestep.tolist()]


def test_pairs_are_plain_data(pairs: Path):
    (first, *_) = read_pairs(data("folder", pairs))
    assert isinstance(first, TrainingPair)
    assert first.captions == ("a 0", "the 0")


def test_packed_pairs_are_a_sequence_of_what_was_packed(pairs: Path, tmp_path: Path):
    entries = [entry for entry in read_pairs(data("folder", pairs)) if isinstance(entry, TrainingPair)]
    packed = PackedPairs([*entries, IMAGDressingError("line 9 is broken")])
    assert list(packed) == entries
    assert (packed[-1], packed[2:4]) == (entries[-1], entries[2:4])
    assert packed.broken == ("line 9 is broken",)
    with pytest.raises(IndexError):
        packed[8]


def test_the_digest_is_of_the_data_wherever_it_lies(pairs: Path, tmp_path: Path):
    moved, other = tmp_path / "moved", tmp_path / "other"
    shutil.copytree(pairs, moved)
    shutil.copytree(pairs, other)
    text = (other / "manifest.jsonl").read_text()
    (other / "manifest.jsonl").write_text(text.replace("a 0", "a zero"))
    here, there, changed = (whole_pairs(data("folder", folder)).digest for folder in (pairs, moved, other))
    assert here == there != changed


def test_a_broken_sample_is_replaced_by_the_next_one_and_named(tmp_path: Path):
    folder = write_folder(tmp_path / "data", 4)
    (folder / "garment2.png").write_bytes(b"no image")
    entries = whole_pairs(data("folder", folder))
    for allowed in (0, 1):
        quiet = SampleMaker(data("folder", folder, skip_broken=allowed), Dropout(text=0, both=0), LATENT, seed=5)
        found = [PairSamples(entries, quiet)[i] for i in range(4)]
        broken = [i for i, sample in enumerate(found) if isinstance(sample, IMAGDressingError)]
        replaced = [
            i for i, sample in enumerate(found) if not isinstance(sample, IMAGDressingError) and sample["broken"]
        ]
        assert (len(broken), len(replaced)) == ((1, 0), (0, 1))[allowed]
    (place,) = replaced
    following = PairSamples(entries, quiet)[place + 1]
    replacement: Any = found[place]
    assert _number(replacement) == _number(following)
    (problem,) = replacement["broken"]
    assert "line 3" in problem and "garment2.png cannot be read as an image" in problem
