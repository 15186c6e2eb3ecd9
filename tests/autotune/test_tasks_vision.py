"""The vision networks of the Adan and Win papers: sizes, losses, and what is refused."""

import math
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from autotune.data.boxes import NOTHING
from autotune.data.digits_boxes import DigitsBoxes, Recipe, compose
from autotune.data.seeds import generator, seeded
from autotune.errors import MissingExtra, SpecError, UnknownName
from autotune.models import vision
from autotune.models.detr import DETR, MINI, R50
from autotune.tasks import boxes
from autotune.tasks.boxes import SetLoss, generalised_overlap, match, set_losses
from autotune.tasks.masked_pixels import MaskedPixels, normalised
from autotune.tasks.resolve import resolve
from autotune.tasks.swin import TINY

VIT = {"size": 224, "patch": 16, "layers": 12}


@pytest.mark.parametrize(
    ("build", "trained"),
    [
        (lambda: vision.vit(1000, **VIT, width=384, heads=6), 22_050_664),
        (lambda: vision.vit(1000, **VIT, width=768, heads=12), 86_567_656),
        (
            lambda: vision.convnext(1000, patch=4, depths=[3, 3, 9, 3], widths=[96, 192, 384, 768]),
            28_589_128,
        ),
        (lambda: vision.swin(1000, TINY), 28_288_354),
        (lambda: vision.mae(**VIT, width=768, heads=12, decoder=(512, 8, 16)), 111_655_680),
        (lambda: DETR(R50, 91), 41_524_768 + 53_120),  # the normalisation is trained as well
    ],
    ids=["vit-small", "vit-base", "convnext-tiny", "swin-tiny", "mae-base", "detr-r50"],
)
def test_networks_have_the_papers_sizes(build, trained):
    with torch.device("meta"):
        model = build()
    assert sum(weight.numel() for weight in model.parameters() if weight.requires_grad) == trained


def test_a_network_without_transformers_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra) as refused:
        vision.vit(10, size=16, patch=4, width=8, layers=1, heads=1)
    assert str(refused.value) == (
        "a vision transformer needs the models extra: pip install 'adan-autotune[models]'"
    )


# Masked autoencoder.


@pytest.fixture(scope="module")
def painter():
    with seeded("painter"):
        return vision.mae(size=12, patch=4, width=16, layers=1, heads=2, decoder=(16, 1, 2))


def test_the_masked_loss_is_that_of_hidden_patches_alone(painter):
    images = torch.randn(2, 3, 12, 12, generator=generator("images"))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        loss = MaskedPixels(patch=4).loss(painter, (images, torch.zeros(2)))
        torch.manual_seed(5)
        noise = torch.rand(2, 9)
    answer = painter(images, noise=noise)
    errors = []
    for image in range(2):
        kept = noise[image].argsort()[: int(9 / 4)]
        for place in set(range(9)) - set(kept.tolist()):
            row, column = divmod(place, 3)
            patch = images[image, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            pixels = patch.permute(1, 2, 0).flatten()
            wanted = (pixels - pixels.mean()) / (pixels.var() + 1e-6).sqrt()
            errors.append((answer.logits[image, place] - wanted).square().mean())
    torch.testing.assert_close(loss, torch.stack(errors).mean())


def test_masks_follow_the_seed_of_a_step_and_validation_has_its_own(painter):
    images = torch.randn(2, 3, 12, 12, generator=generator("images"))
    objective, batch = MaskedPixels(patch=4), (images, torch.zeros(2))

    def drawn(measure, seed):
        with seeded("step", seed), torch.no_grad():
            return measure(painter, batch)

    assert drawn(objective.loss, 0) == drawn(objective.loss, 0) != drawn(objective.loss, 1)
    assert drawn(objective.measure, 0) == drawn(objective.measure, 1)


def test_a_masked_autoencoder_knows_the_places_of_patches(painter):
    for places in (painter.vit.embeddings.position_embeddings, painter.decoder.decoder_pos_embed):
        assert len(places[0].unique(dim=0)) == 10
        assert not places.requires_grad
    first, second = vision.positions(3, 8)[[0, 6]]
    assert torch.equal(first, torch.zeros(8))
    across, down = 2.0, 1.0  # the sixth place of three rows of three
    expected = [math.sin(across), math.sin(across / 100), math.cos(across), math.cos(across / 100)]
    expected += [math.sin(down), math.sin(down / 100), math.cos(down), math.cos(down / 100)]
    torch.testing.assert_close(second, torch.tensor(expected))


def test_the_mean_patch_is_the_constant_answer_of_masked_pixels():
    images = torch.randn(3, 3, 8, 8, generator=generator("images"))
    patches = normalised(images, 4).flatten(0, 1)
    facts = MaskedPixels(patch=4).facts([(images[:1], None), (images[1:], None)])
    least = (patches - patches.mean(0)).square().mean().item()
    assert facts["constant_loss"] == pytest.approx(least, rel=1e-5)


# Detection.

LEFT, RIGHT = [0.25, 0.5, 0.5, 1.0], [0.75, 0.5, 0.5, 1.0]  # halves of an image
WHOLE = [0.5, 0.5, 1.0, 1.0]


def test_the_generalised_overlap_is_right_by_hand():
    pairs = [(LEFT, LEFT, 1.0), (LEFT, RIGHT, 0.0), (LEFT, WHOLE, 0.5)]
    pairs.append(([0.125, 0.5, 0.25, 1.0], [0.875, 0.5, 0.25, 1.0], -0.5))  # half lies between
    one, other, expected = (torch.tensor(each) for each in zip(*pairs, strict=True))
    torch.testing.assert_close(generalised_overlap(one, other), expected)


def test_the_set_loss_is_right_by_hand():
    # One object of class 0 in the left half. The second query is on it but for a tenth in width.
    found = torch.tensor([[[RIGHT, [0.25, 0.5, 0.4, 1.0]]]])
    shares = torch.tensor([[[[0.2, 0.2, 0.6], [0.5, 0.25, 0.25]]]])
    loss = set_losses(shares.log(), found, torch.tensor([[0]]), torch.tensor([[LEFT]]))
    classes = (-math.log(0.5) - 0.1 * math.log(0.6)) / 1.1
    expected = classes + 5 * 0.1 + 2 * (1 - 0.4 / 0.5)
    assert loss.tolist() == pytest.approx([expected])


def test_objects_that_are_not_there_change_no_loss_and_none_is_matched_twice():
    found = torch.tensor([[[LEFT, RIGHT, WHOLE]]])
    logits = torch.zeros(1, 1, 3, 3)
    alone = set_losses(logits, found, torch.tensor([[1]]), torch.tensor([[RIGHT]]))
    padded = torch.tensor([[NOTHING, 1, NOTHING]]), torch.tensor([[WHOLE, RIGHT, LEFT]])
    torch.testing.assert_close(set_losses(logits, found, *padded), alone)
    assert sorted(match(logits, found, *padded).flatten().tolist()) == [0, 1, 2]


def test_the_matching_is_the_cheapest_of_all_and_not_the_greedy_one():
    # Both objects are nearest to the first query; only one of them can do without it.
    found = torch.tensor([[[[0.5, 0.5, 0.2, 0.2], [0.8, 0.5, 0.2, 0.2]]]])
    labels = torch.tensor([[0, 0]])
    truth = torch.tensor([[[0.62, 0.5, 0.2, 0.2], [0.48, 0.5, 0.2, 0.2]]])
    assert match(torch.zeros(1, 1, 2, 2), found, labels, truth).tolist() == [[[1, 0]]]


def test_the_set_loss_agrees_with_the_library_s():
    from transformers.loss.loss_for_object_detection import HungarianMatcher, ImageLoss

    with seeded("sets"):
        logits, found = torch.randn(1, 4, 5, 4), torch.rand(1, 4, 5, 4) * 0.5 + 0.2
        labels, truth = torch.randint(3, (4, 2)), torch.rand(4, 2, 4) * 0.5 + 0.2
    labels[0, 1] = NOTHING
    theirs = ImageLoss(HungarianMatcher(1, 5, 2), 3, 0.1, ["labels", "boxes"])
    wanted = [
        {"class_labels": kind[kind != NOTHING], "boxes": box[kind != NOTHING]}
        for kind, box in zip(labels, truth, strict=True)
    ]
    parts = theirs({"logits": logits[0], "pred_boxes": found[0]}, wanted)
    expected = parts["loss_ce"] + 5 * parts["loss_bbox"] + 2 * parts["loss_giou"]
    torch.testing.assert_close(set_losses(logits, found, labels, truth), expected.view(1))


def test_a_loss_that_is_not_finite_says_so_and_does_not_raise():
    found = torch.full((1, 1, 2, 4), math.nan)
    loss = set_losses(torch.zeros(1, 1, 2, 2), found, torch.tensor([[0]]), torch.tensor([[LEFT]]))
    assert loss.isnan().all()


class Constant(nn.Module):
    """Answers every image alike."""

    def __init__(self, logits, found):
        super().__init__()
        self.logits, self.found = logits, found

    def forward(self, images):
        return tuple(each.expand(2, len(images), *each.shape) for each in (self.logits, self.found))


def test_an_object_is_found_by_its_class_and_half_of_its_box():
    images, labels = torch.zeros(2, 3, 8, 8), torch.tensor([[1, NOTHING], [0, 1]])
    truth = torch.tensor([[LEFT, LEFT], [RIGHT, [0.25, 0.5, 0.1, 1.0]]])
    model = Constant(torch.eye(3)[[1, 1]] * 9, torch.tensor([LEFT, RIGHT]))
    measured = SetLoss(queries=2).measure(model, (images, labels, truth))
    assert measured.accuracy == pytest.approx(1 / 3)  # a wrong class, and a box far too wide
    assert SetLoss(queries=2).weight((images, labels, truth)) == 3


def test_a_step_takes_its_costs_from_the_device_once(monkeypatch):
    asked = []
    monkeypatch.setattr(boxes, "_cheapest", lambda costs, own=boxes._cheapest: own(costs))
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: asked.append(self.shape) or self)
    data = DigitsBoxes(recipe=Recipe())
    SetLoss(queries=MINI.queries).loss(DETR(MINI, 10), data.batch(0, 0, 2))
    assert asked == [(MINI.decoder * 2, MINI.queries, 2)]


def test_boxes_lie_close_around_the_ink_of_digits():
    recipe = Recipe(size=64, most=1, noise=0.0)
    images, labels, placed = compose(torch.arange(40).view(40, 1), recipe, generator("boxes"))
    assert (labels != NOTHING).all()
    dark = images.amin()
    for image, (x, y, width, height) in zip(images[:, 0], 64 * placed[:, 0], strict=True):
        rows, columns = torch.nonzero(image > dark + 1.0, as_tuple=True)
        sides = (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1)
        edges = (x - width / 2, x + width / 2, y - height / 2, y + height / 2)
        pixel = 64 * recipe.most_side / 8  # one of the digit's own
        for side, edge in zip(sides, edges, strict=True):
            assert abs(side - edge) < pixel


def test_images_with_boxes_follow_seed_and_step():
    data = DigitsBoxes(recipe=Recipe())
    one, again, other = data.batch(3, 1, 4), data.batch(3, 1, 4), data.batch(3, 2, 4)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one[0], other[0])
    shown = (data.validation()[0][1] != NOTHING).sum(1)
    assert set(shown.tolist()) == {1, 2}


def test_the_constant_answer_of_a_set_says_nothing_of_an_image():
    data = DigitsBoxes(recipe=Recipe(), validation_size=64)
    facts = SetLoss(queries=4).facts(data.validation())
    assert facts["constant_accuracy"] < 0.1
    [(images, labels, truth)] = data.validation()
    shares = torch.tensor([*[1.0] * 10, 0.1 * (4 * 64 - int((labels != NOTHING).sum())) / 9])
    model = Constant(shares.log().expand(4, -1), torch.tensor([0.5, 0.5, 0.3, 0.4]).expand(4, -1))
    measured = SetLoss(queries=4).measure(model, (images, labels, truth))
    assert facts["constant_loss"] < measured.loss


def test_a_detector_of_too_few_answers_is_refused(tmp_path):
    import numpy as np

    path = tmp_path / "many.npz"
    np.savez(
        path,
        images=np.random.default_rng(0).random((4, 8, 8)),
        labels=np.zeros((4, 5), int),
        boxes=np.full((4, 5, 4), 0.5),
    )
    with pytest.raises(SpecError) as refused:
        resolve("detr-mini", data=str(path))
    assert str(refused.value) == (
        f"an image of data '{path}' shows 5 objects, detr-mini answers with at most 4; take a "
        "larger network, or images that show fewer"
    )


def test_a_folder_has_no_boxes(tmp_path):
    with pytest.raises(UnknownName) as refused:
        resolve("detr-mini", data=str(tmp_path))
    assert str(refused.value) == (
        f"unknown data with boxes '{tmp_path}' (known: FILE.npz, digits-boxes); a folder of "
        "images has none"
    )


def test_boundaries_of_a_class_loss_are_torch_s():
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 2, 4, generator=generator("logits"))
    labels = torch.full((3, 1), NOTHING)
    loss = set_losses(logits, torch.rand(1, 3, 2, 4), labels, torch.zeros(3, 1, 4))
    plain = cross_entropy(logits.flatten(0, 2), torch.full((6,), 3))
    torch.testing.assert_close(loss, plain.view(1))


# timm, of which a stand-in is enough: the real one needs torchvision.


@pytest.fixture
def timm(monkeypatch):
    asked = []

    def create_model(name, **arguments):
        if "banana" in arguments:
            raise TypeError("unexpected keyword argument 'banana'")
        asked.append((name, arguments))
        return nn.Sequential(nn.Flatten(), nn.LazyLinear(arguments["num_classes"]))

    designed = {
        "resnet18": SimpleNamespace(input_size=(3, 16, 16), fixed_input_size=False),
        "vit_tiny": SimpleNamespace(input_size=(3, 16, 16), fixed_input_size=True),
        "grey": SimpleNamespace(input_size=(1, 16, 16), fixed_input_size=False),
    }
    library = SimpleNamespace(
        is_model=designed.__contains__,
        list_models=lambda: list(designed),
        get_pretrained_cfg=designed.get,
        create_model=create_model,
    )
    monkeypatch.setitem(sys.modules, "timm", library)
    return asked


def test_a_network_of_timm_takes_its_arguments_and_its_size(timm):
    task = resolve("timm:resnet18?drop_rate=0.1")
    assert task.data.validation()[0][0].shape[1:] == (3, 16, 16)
    task.build(0)
    assert timm == [("resnet18", {"pretrained": False, "num_classes": 100, "drop_rate": 0.1})]


@pytest.mark.parametrize(("name", "told"), [("resnet18", {}), ("vit_tiny", {"img_size": 8})])
def test_another_size_is_told_to_networks_that_are_built_for_one(timm, name, told):
    task = resolve(f"timm:{name}?img_size=8")
    assert task.data.validation()[0][0].shape[1:] == (3, 8, 8)
    task.build(0)
    assert timm == [(name, {"pretrained": False, "num_classes": 100, **told})]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "resnet",
            "unknown network of timm 'resnet'; did you mean 'resnet18'? "
            "(known: those of timm.list_models())",
        ),
        ("", "timm:: write timm:NAME, or timm:NAME?name=value&name=value with values as in JSON"),
        (
            "resnet18?drop_rate",
            "timm:resnet18?drop_rate: write timm:NAME, or timm:NAME?name=value&name=value with "
            "values as in JSON",
        ),
        (
            "resnet18?num_classes=5",
            "timm:resnet18?num_classes=5: num_classes is the search's own to set; leave it out",
        ),
        (
            "resnet18?img_size=big",
            "timm:resnet18?img_size=big: img_size must be a whole number above 0, got big",
        ),
        (
            "grey",
            "timm:grey takes images of 1 by 16 by 16; the data are squares of 3 colours",
        ),
    ],
)
def test_what_timm_cannot_build_is_refused(timm, text, sentence):
    with pytest.raises(SpecError) as refused:
        resolve(f"timm:{text}")
    assert refused.value.args[0] == sentence


def test_an_argument_that_a_network_does_not_take_is_refused(timm):
    with pytest.raises(SpecError) as refused:
        resolve("timm:resnet18?banana=1").rehearse()
    assert str(refused.value) == (
        "building timm:resnet18?banana=1 raised TypeError: unexpected keyword argument 'banana'"
    )


def test_timm_that_is_missing_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtra, match=r"^timm:resnet18 needs timm: pip install timm$"):
        resolve("timm:resnet18")
