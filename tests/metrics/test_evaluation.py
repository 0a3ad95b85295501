"""The result table: from a manifest and folders, good or bad, to means that are compared where they may be."""

import csv
import gc
import shutil
import subprocess
import sys
import weakref
from pathlib import Path

import numpy
import pytest
from PIL import Image
from support import drawn
from support.comfyui_release import REPOSITORY
from support.evaluating import (
    CAMI_U,
    OTHER,
    OURS,
    POSE,
    arguments,
    cell,
    finished,
    records,
    run,
    scores_by_pair,
    start,
)

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.metrics.outcome import NoScore
from imagdressing_core.metrics.paper import PAPER_ROWS, PROTOCOLS
from imagdressing_core.metrics.scoring import PairContent, face_similarity, score

# The table


def test_the_better_method_comes_out_better_with_interval_and_test(folder: Path):
    printed = run(folder)
    ours, other = cell(folder, OURS, "CAMI-U"), cell(folder, OTHER, "CAMI-U")
    assert float(ours["low"]) < float(ours["mean"]) < float(ours["high"])
    assert float(ours["mean"]) > float(other["mean"]) + 0.3
    assert float(other["difference"]) == pytest.approx(float(other["mean"]) - float(ours["mean"]))
    assert float(other["p"]) == 0.125  # 2 of the 16 exchanges of four garments
    assert float(other["difference_low"]) < float(other["difference"]) < float(other["difference_high"])
    assert float(other["p_holm"]) > float(other["p"])
    for text in (f"**{float(ours['mean']):.3f} [", "p = 0.1250", "Over the pictures that both have"):
        assert text in printed


def test_a_mean_is_that_of_its_images_and_cami_u_the_sum_of_its_terms(folder: Path):
    run(folder)
    rows = [one for one in records(folder, "scores.csv") if one["method"] == OURS]
    sums = [sum(float(one[term]) for term in ("structure", "texture", "keypoints")) for one in rows]
    assert [float(one["CAMI-U"]) for one in rows] == pytest.approx(sums)
    assert float(cell(folder, OURS, "CAMI-U")["mean"]) == pytest.approx(numpy.mean(sums))
    assert float(cell(folder, OURS, "pose")["mean"]) == pytest.approx(1)
    garments = {
        one["garment"]: float(one["CAMI-U"]) for one in records(folder, "garments.csv") if one["method"] == OURS
    }
    assert garments == pytest.approx({one["garment"]: float(one["CAMI-U"]) for one in rows})


def test_the_papers_numbers_stand_beside_ours_and_empty_cells_say_why(folder: Path):
    printed = run(folder)
    assert cell(folder, OURS, "CAMI-U", "Table 2")["mean"] == "1.753"
    assert cell(folder, OTHER, "MP-LPIPS", "Table 2")["mean"] == "0.4093"
    assert "incompatible with several plugins" in cell(folder, OTHER, "CAMI-S", "Table 2")["reason"]
    assert "incompatible with several plugins" in printed
    for row in PAPER_ROWS:
        assert (row.method in printed) == (row.table == "Table 2")  # no ablation was given
        assert row.values.keys() | row.gaps.keys() == {"ImageReward", "MP-LPIPS", "CAMI-U", "CAMI-S"}


def test_any_method_may_be_the_one_to_compare_with(folder: Path):
    run(folder, "--compare", OTHER)
    assert cell(folder, OTHER, "CAMI-U")["difference"] == ""
    assert float(cell(folder, OURS, "CAMI-U")["difference"]) > 0.3


def test_published_mode_says_so_and_has_other_numbers(folder: Path):
    run(folder)
    corrected = cell(folder, OURS, "CAMI-U")["mean"]
    printed = run(folder, "--mode", "published")
    assert cell(folder, OURS, "CAMI-U")["mean"] != corrected
    assert "Results (mode: published)" in printed
    assert "CAMI is computed as the official code does" in printed


def test_the_order_of_the_manifest_is_irrelevant(folder: Path):
    run(folder)
    before, means = scores_by_pair(folder), cell(folder, OTHER, "CAMI-U")
    rows = list(csv.DictReader((folder / "manifest.csv").read_text().splitlines()))
    drawn.write_manifest(rows[::-1], folder / "manifest.csv")
    run(folder, "--output", str(folder / "out"))
    assert scores_by_pair(folder) == before
    assert float(cell(folder, OTHER, "CAMI-U")["mean"]) == pytest.approx(float(means["mean"]))


# Bad input


def test_every_pair_that_cannot_be_scored_is_named_counted_and_in_no_mean(folder: Path):
    run(folder)
    whole = cell(folder, OURS, "CAMI-U")
    other = folder / "other"
    (other / "0.png").unlink()
    (other / "1.png").write_bytes(b"not an image")
    drawn.save(numpy.zeros((96, 72), bool), other / "masks/2.png")
    drawn.save(numpy.ones((72, 96), bool), other / "masks/3.png")
    drawn.save(numpy.zeros((96, 72, 3), numpy.uint8), other / "poses/0.png")
    (other / "poses/1.png").unlink()
    printed = run(folder)
    reasons = {image: one["reasons"] for (method, image), one in scores_by_pair(folder).items() if method == OTHER}
    assert "structure: generated: missing file" in reasons["0.png"]
    assert "pose: no pose in the generated image" in reasons["0.png"]
    assert "texture: generated: unreadable file" in reasons["1.png"]
    assert "pose: generated pose: missing file" in reasons["1.png"]
    assert "keypoints: empty mask of the generated image" in reasons["2.png"]
    assert "structure: mask of another size than the generated image: 96 × 72 for 72 × 96 pixels" in reasons["3.png"]
    found = cell(folder, OTHER, "CAMI-U")
    assert found["mean"] == ""
    assert found["reason"] == "generated: missing file"
    assert cell(folder, OTHER, "pose")["pictures"] == "2"
    assert "(2 of 4)" in printed
    assert "Pairs without a score" in printed
    alone = ("mean", "low", "high", "pictures")
    assert [cell(folder, OURS, "CAMI-U")[name] for name in alone] == [whole[name] for name in alone]


def test_pairs_without_masks_are_scored_whole_and_counted(folder: Path):
    for mask in (folder / "other/masks").iterdir():
        mask.unlink()
    (folder / "other/masks").rmdir()
    printed = run(folder)
    assert "Pairs without a mask" in printed
    assert cell(folder, OTHER, "CAMI-U")["pictures"] == "4"


def test_masked_images_are_not_compared_with_whole_ones(folder: Path):
    shutil.copytree(folder / "ours", folder / "whole")
    shutil.rmtree(folder / "whole/masks")
    for mode in ("corrected", "published"):
        printed = run(folder, "--method", f"whole={folder / 'whole'}", "--mode", mode)
        whole = cell(folder, "whole", "CAMI-U")
        assert (whole["difference"], whole["p"]) == ("", "")
        assert "not compared: masks differ" in whole["note"]
        assert f"{float(whole['mean']):.3f}" in printed and "†" in printed
        assert "not compared: masks differ" in printed
        assert "textdagger" in (folder / "out/table.tex").read_text()
        assert cell(folder, "whole", "pose")["difference"] == "0.0"  # needs no mask
        assert cell(folder, OTHER, "CAMI-U")["p"] == "0.125"


def test_images_of_another_size_are_marked_and_in_published_mode_not_compared(folder: Path):
    for name in ("", "masks/"):
        for path in (folder / "other" / name).glob("*.png"):
            Image.open(path).resize((90, 120)).save(path)
    assert "‡" in run(folder)
    other = cell(folder, OTHER, "CAMI-U")
    assert "other size than the reference" in other["note"] and other["p"] == "0.125"
    run(folder, "--mode", "published")
    other = cell(folder, OTHER, "CAMI-U")
    assert "not compared: sizes differ" in other["note"] and other["p"] == ""


def test_an_image_that_is_turned_by_its_exif_is_of_no_other_size(folder: Path):
    image = Image.open(folder / "other/0.png").transpose(Image.Transpose.ROTATE_90)
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned back by 90 degrees
    image.save(folder / "other/0.png", exif=exif)
    run(folder)
    assert "‡" not in cell(folder, OTHER, "CAMI-U")["note"]


def test_means_over_the_images_that_all_methods_have_stand_beside_the_others(folder: Path):
    assert "Over the images that all methods have" not in run(folder)
    (folder / "other/3.png").unlink()
    assert "Over the images that all methods have" in run(folder)
    rows = scores_by_pair(folder)
    common = [float(rows[OURS, f"{i}.png"]["CAMI-U"]) for i in range(3)]
    assert float(cell(folder, OURS, "CAMI-U")["common_mean"]) == pytest.approx(numpy.mean(common))
    assert cell(folder, OURS, "CAMI-U")["common_pictures"] == "3"


def test_a_garment_is_the_same_however_its_path_is_spelled(folder: Path):
    run(folder)
    rows = list(csv.DictReader((folder / "manifest.csv").read_text().splitlines()))
    again = []
    for row in rows:
        again.append(row | {"picture": f"again_{row['picture']}", "garment": f"../{folder.name}/{row['garment']}"})
        for method in ("ours", "other"):
            for part, name in (("", row["picture"]), ("masks/", row["picture"]), ("poses/", row["picture"])):
                source = folder / method / part / name
                shutil.copy(source, source.with_name(f"again_{name}"))
    once = cell(folder, OTHER, "CAMI-U")
    drawn.write_manifest([*rows, *again], folder / "manifest.csv")
    run(folder)
    twice = cell(folder, OTHER, "CAMI-U")
    assert (twice["garments"], twice["p"], twice["pictures"]) == ("4", once["p"], "8")
    assert float(twice["low"]) == pytest.approx(float(once["low"]))


def test_an_image_without_a_face_has_no_face_score():
    face = numpy.ones(512) / numpy.sqrt(512)
    assert face_similarity(face, face) == pytest.approx(1)
    assert "no face in the generated image" in str(face_similarity(face, None))
    assert "no face in the image of the face asked for" in str(face_similarity(None, face))
    assert "not a number" in str(face_similarity(face, face * numpy.nan))


def test_reasons_keep_no_image_in_memory():
    image, mask = drawn.skeleton(), numpy.zeros((96, 72), bool)
    held = weakref.ref(image)
    loaded = CAMI_U.load((), "cpu", PROTOCOLS["corrected"])
    (found,) = score([PairContent(generated=image, garment=image, generated_mask=mask)], CAMI_U, loaded)
    assert "empty mask" in str(found["texture"])
    del image
    gc.collect()
    assert held() is None


def test_what_is_not_given_is_said_by_its_name():
    (found,) = score([PairContent(generated=drawn.skeleton())], POSE, lambda pairs: [])
    assert isinstance(found["pose"], NoScore)
    assert found["pose"].reason == "no pose given"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--score", "fidelity"), "--score fidelity is unknown. There are cami-u, pose"),
        (("--method", f"{OURS}=."), "is given 2 times"),
        (("--method", "ours"), "write NAME=FOLDER"),
        (("--compare", "ours"), f"--compare ours is no method of this run. There are {OURS}, {OTHER}"),
        (("--weights", "pose=x"), "--weights pose=x: write NAME=PATH"),
        (("--device", "cdua"), "--device cdua cannot be used"),
        (("--device", "cuda:99"), "PyTorch finds these devices here: cpu"),
    ],
)
def test_a_wrong_option_is_said_before_anything_is_scored(folder: Path, more: tuple[str, ...], message: str):
    with pytest.raises(IMAGDressingError, match=message):
        run(folder, *more)
    assert not (folder / "out").exists()


def test_the_command_ends_with_one_line_and_no_traceback(folder: Path):
    (folder / "manifest.csv").write_text("picture,garment\n")
    code, _, errors = finished(start(folder))
    assert code == 2
    assert "manifest.csv holds no image" in errors
    assert "Traceback" not in errors


def test_an_output_that_cannot_be_written_is_said_in_one_line(folder: Path):
    code, _, errors = finished(start(folder, "--output", str(folder / "manifest.csv")))
    assert code == 2
    assert "manifest.csv" in errors and "File exists" in errors
    assert "Traceback" not in errors


def run_after(code: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run the command in a process of its own, after some code."""
    code = f"import atexit, sys; sys.argv[0] = 'metrics'; {code}; "
    code += "from imagdressing_core.metrics.__main__ import main; main()"
    command = [sys.executable, "-c", code, *arguments(folder)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


def test_cami_is_computed_and_reported_without_pytorch(folder: Path):
    result = run_after("atexit.register(lambda: print('PyTorch is there:', 'torch' in sys.modules))", folder)
    assert result.returncode == 0, result.stderr
    assert (folder / "out/report.html").is_file()
    assert "PyTorch is there: False" in result.stdout


def test_a_missing_library_is_named_with_the_command_that_installs_it(folder: Path):
    result = run_after("sys.modules['cv2'] = None", folder)
    assert result.returncode == 2
    assert "CAMI needs the package cv2" in result.stderr
    assert f'pip install "{REPOSITORY}[evaluation]"' in result.stderr
    assert "Traceback" not in result.stderr
