"""The scores tell what is drawn right from what is not."""

from demo import data, measure, world

PEOPLE = [data.drawn(number, "unseen") for number in range(measure.UNSEEN)]
IMAGES = [world.image(person, data.WIDTH) for person in PEOPLE]


def test_drawn_people_have_the_garments_that_they_wear_and_the_scenes_that_they_are_in() -> None:
    scores = [measure.score(image, one, one.shirt) for image, one in zip(IMAGES, PEOPLE, strict=True)]

    means = {name: mean for name, (mean, _) in measure.summary(scores).items()}

    assert means["pattern"] >= 0.95
    assert means["scene"] >= 0.95
    assert means["colour_error"] < 0.04


def test_people_in_another_garment_score_as_badly_as_chance() -> None:
    others = [*PEOPLE[1:], PEOPLE[0]]

    scores = [measure.score(image, one, one.shirt) for image, one in zip(IMAGES, others, strict=True)]

    means = {name: mean for name, (mean, _) in measure.summary(scores).items()}
    assert means["pattern"] < 0.45
    assert means["scene"] < 0.5
    assert means["colour_error"] > 0.12
