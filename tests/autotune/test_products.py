"""Convolutions computed as products: what they equal, and which convolutions are."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from autotune.models.products import ProductConv2d, product, use_products
from autotune.models.resnet import resnet50

SIZES = ((1, 1), (2, 2), (3, 1), (4, 5))
STRIDES = ((1, 1), (2, 2), (3, 1))
PADDINGS = ((0, 0), (1, 0), (1, 1), (2, 2))


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (3, 1), (5, 5)], ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_product_is_the_convolution_in_values_and_gradients(size, kernel):
    torch.manual_seed(0)
    images = torch.randn(3, 6, *size, dtype=torch.double, requires_grad=True)
    for stride, padding in itertools.product(STRIDES, PADDINGS):
        pairs = zip(size, kernel, padding, strict=True)
        if any(p >= k or n + 2 * p < k for n, k, p in pairs):
            continue  # padding alone is seen, or there is no place for the kernel
        layer = nn.Conv2d(6, 5, kernel, stride, padding).double()
        expected = layer(images)
        found = product(images, layer.weight, stride, padding, layer.bias)
        torch.testing.assert_close(found, expected)
        wanted, sums = [images, *layer.parameters()], torch.randn_like(expected)
        torch.testing.assert_close(
            torch.autograd.grad(found, wanted, sums), torch.autograd.grad(expected, wanted, sums)
        )


def test_resnet50_is_transformers_own_in_names_logits_and_gradients():
    torch.manual_seed(0)
    from transformers import ResNetConfig, ResNetForImageClassification

    ours, theirs = resnet50(10), ResNetForImageClassification(ResNetConfig(num_labels=10))
    theirs.load_state_dict(ours.state_dict())
    # Batch normalisation of few images enlarges float32's rounding.
    images, labels = torch.randn(6, 3, 32, 32).double(), torch.arange(6)
    logits = [model.double()(images).logits for model in (ours, theirs)]
    torch.testing.assert_close(*logits, rtol=1e-9, atol=1e-9)
    for each in logits:
        cross_entropy(each, labels).backward()
    names = [name for name, _ in theirs.named_parameters()]
    assert [name for name, _ in ours.named_parameters()] == names
    for name, p, q in zip(names, ours.parameters(), theirs.parameters(), strict=True):
        assert (p.grad - q.grad).norm() <= 1e-8 * q.grad.norm(), name


def test_all_convolutions_of_one_pixel_and_the_wide_ones_of_resnet50_are_products():
    with torch.device("meta"):
        layers = [each for each in resnet50(10).modules() if isinstance(each, nn.Conv2d)]
    plain = [each for each in layers if type(each) is nn.Conv2d]
    assert len(layers) - len(plain) == 36 + 9
    assert {(each.kernel_size[0], each.in_channels) for each in plain} == {
        (7, 3),
        (3, 64),
        (3, 128),
    }


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(256, 256, 3, groups=2),
        nn.Conv2d(256, 4, 3, dilation=2),
        nn.Conv2d(256, 4, 3, padding=1, padding_mode="circular"),
        nn.Conv2d(256, 4, 3, padding="same"),
        nn.Conv2d(255, 4, 3),
        nn.Conv2d(8, 4, 1, padding=1),
    ],
    ids=["groups", "dilation", "circular", "same", "narrow", "only padding seen"],
)
def test_other_convolutions_stay(layer):
    use_products(nn.Sequential(layer))
    assert type(layer) is nn.Conv2d


class Called(TorchDispatchMode):
    """Keeps the names of the operators that run."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("device", "operator"), [("cpu", "mm"), ("meta", "convolution")])
def test_a_device_other_than_a_cpu_computes_the_convolution_itself(device, operator):
    layer = nn.Conv2d(256, 4, 3, padding=1, bias=False)
    use_products(layer)
    assert type(layer) is ProductConv2d
    layer.to(device)
    with Called() as called:
        found = layer(torch.empty(2, 256, 2, 2, device=device))
    assert {"mm", "convolution"} & called.names == {operator}
    assert found.shape == (2, 4, 2, 2)
