"""What weight decay leaves out, whatever wraps the model."""

import re
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from autotune.optimizers import layerwise, split, undecayed

if not torch.distributed.is_available():
    pytest.skip("this torch has no torch.distributed", allow_module_level=True)

from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper


class Backbone(nn.Module):
    def __init__(self, names=("pos_embed",)):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, 5, 4))
        self.cls = None
        self.register_buffer("grid", torch.zeros(2, 2))
        self.names = names
        self.blocks = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))

    def no_weight_decay(self):
        return set(self.names)

    def forward(self, x):
        return self.blocks(x)


class Model(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.backbone(x))


class Passing(nn.Module):
    """Passes attributes on, as PEFT's models do."""

    def __init__(self, base):
        super().__init__()
        self.base = base

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base"), name)


class Flat(nn.Module):
    """Has the part that FSDP puts into names."""

    def __init__(self, module):
        super().__init__()
        self._fsdp_wrapped_module = module


@pytest.fixture
def group(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


def ddp(module):
    return nn.parallel.DistributedDataParallel(module)


WRAPPERS = {
    "DataParallel": nn.DataParallel,
    "compile": lambda module: torch.compile(module, backend="eager"),
    "checkpoint": checkpoint_wrapper,
    "fsdp": Flat,
    "average": torch.optim.swa_utils.AveragedModel,
    "passing": Passing,
    "twice": lambda module: nn.DataParallel(torch.compile(module, backend="eager")),
}


def kept(model, found=None):
    """Return the names of the parameters that do not decay."""
    groups = split(model, 0.1) if found is None else found
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)] for g in groups if not g["weight_decay"] for p in g["params"]}


def tail(names):
    return {name for name in names if not name.endswith("bias")}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize("where", ["whole", "backbone"])
def test_names_of_a_model_are_found_inside_wrappers(wrap, where):
    backbone = Backbone()
    model = wrap(Model(backbone)) if where == "whole" else Model(wrap(backbone))
    for groups in (None, layerwise(model, 1.0, 0.5, 0.1)):
        [name] = tail(kept(model, groups))
        assert name.endswith("pos_embed")


@pytest.mark.usefixtures("group")
def test_names_of_a_model_are_found_inside_distributed_data_parallel():
    assert tail(kept(ddp(Backbone()))) == {"module.pos_embed"}
    assert tail(kept(Model(ddp(Backbone())))) == {"backbone.module.pos_embed"}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_model_names_what_is_inside_a_wrapper(wrap):
    model = Model(wrap(Backbone(names=())))
    model.no_weight_decay = lambda: {"backbone.blocks.0.weight"}
    if wrap is Passing:
        model.no_weight_decay = lambda: {"backbone.base.blocks.0.weight"}
    [name] = tail(kept(model))
    assert name.endswith("blocks.0.weight")


def test_names_as_the_model_itself_lists_them_are_found():
    model = Model(checkpoint_wrapper(Backbone()))
    model.no_weight_decay = lambda: {n for n, _ in model.named_parameters() if "head" in n}
    assert "head.weight" in kept(model)


def test_a_modules_name_means_all_its_parameters():
    assert tail(kept(Backbone(names=["blocks.1"]))) == {"blocks.1.weight"}


def test_a_part_of_ones_own_that_is_called_module_is_no_wrapper():
    model = nn.Module()
    model.module = Backbone(names=())
    model.no_weight_decay = lambda: {"module.pos_embed"}
    assert tail(kept(model)) == {"module.pos_embed"}
    assert tail(kept(nn.DataParallel(nn.DataParallel(model)))) == {"module.module.module.pos_embed"}
    model.no_weight_decay = lambda: {"pos_embed"}
    with pytest.raises(ValueError, match="got 'pos_embed', which it does not have"):
        split(model, 0.1)


@pytest.mark.parametrize("wrap", [lambda m: m, nn.DataParallel, Model])
@pytest.mark.parametrize("name", ["pos_embd", "blocks.2.weight", "backbone.pos_embed"])
def test_a_name_that_the_model_does_not_have_is_refused(wrap, name):
    model = wrap(Backbone(names=["pos_embed", name]))
    sentence = (
        f"no_weight_decay() must name parameters of Backbone, got {name!r}, "
        "which it does not have; correct the name, or take it out"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        split(model, 0.1)
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        layerwise(model, 1.0, 0.5, 0.1)


@pytest.mark.parametrize("name", ["cls", "grid", "cls_token", "dist_token", ""])
def test_a_name_of_what_a_model_goes_without_is_taken(name):
    assert tail(kept(nn.DataParallel(Backbone(names=[name])))) == set()


def test_tied_weights_are_left_out_under_either_name():
    model = nn.Sequential(nn.Embedding(4, 4), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    model.no_weight_decay = lambda: {"1.weight"}
    assert kept(model) == {"0.weight"}


def test_blocks_are_matched_and_found_inside_wrappers():
    def rates(model, **kwargs):
        return sorted({g["lr"] for g in layerwise(model, 1.0, 0.5, 0.0, **kwargs)})

    plain = Model(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)))
    compiled = torch.compile(plain, backend="eager")
    assert rates(plain, blocks="backbone.*") == rates(compiled, blocks="backbone.*")
    lists = [nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)) for _ in range(2)]
    assert rates(nn.ModuleList(lists)) == rates(nn.ModuleList(map(checkpoint_wrapper, lists)))


@pytest.mark.usefixtures("group")
def test_a_model_that_fsdp_has_flattened_is_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.distributed.fsdp import FullyShardedDataParallel

        flat = FullyShardedDataParallel(Backbone(), device_id=torch.device("cpu"))
        whole = FullyShardedDataParallel(
            Backbone(), device_id=torch.device("cpu"), use_orig_params=True
        )
    sentence = (
        "split and layerwise need whole shapes, got a model that FSDP has flattened; "
        "make the groups before it is wrapped, or use fully_shard"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        split(flat, 0.1)
    assert tail(kept(whole)) == {"_fsdp_wrapped_module.pos_embed"}


class LlamaRMSNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 1, 1))


class LayerNorm2d(nn.LayerNorm):
    pass


class Own(nn.GroupNorm):
    pass


class NormedLinear(nn.Linear):
    pass


@pytest.mark.parametrize(
    "layer",
    [
        nn.LayerNorm([5, 4]),
        nn.RMSNorm([5, 4]),
        nn.LayerNorm([2, 5, 4]),
        nn.GroupNorm(2, 4),
        nn.BatchNorm2d(4),
        nn.InstanceNorm1d(4, affine=True),
        LlamaRMSNorm(),
        LayerNorm2d([3, 3]),
        Own(1, 2),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_gains_of_normalisation_do_not_decay_whatever_their_shape(layer):
    assert kept(layer) == {name for name, _ in layer.named_parameters()}
    wrapped = nn.DataParallel(nn.Sequential(layer, nn.Linear(4, 4)))
    assert len(kept(wrapped)) == len(list(layer.parameters())) + 1


def test_the_layers_of_torchscript_keep_their_kinds():
    model = nn.Sequential(nn.LayerNorm([5, 4]), nn.Linear(4, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and still used
        scripts = torch.jit.script(model), torch.jit.trace(model, torch.ones(2, 5, 4))
    for script in scripts:
        assert kept(script) == {"0.weight", "0.bias", "1.bias"}


@pytest.mark.parametrize(
    "layer",
    [nn.Embedding(5, 4), nn.Linear(1, 4), nn.Conv1d(4, 1, 1), NormedLinear(4, 4)],
    ids=lambda layer: type(layer).__name__,
)
def test_matrices_decay_though_they_look_like_gains(layer):
    assert tail(kept(layer)) == set()


def test_biases_do_not_decay_whatever_their_shape():
    model = nn.Module()
    for name in ("bias", "head_bias", "weight", "bias_table", "rebias"):
        setattr(model, name, nn.Parameter(torch.zeros(2, 3)))
    model.scale = nn.Parameter(torch.tensor(1.0))
    assert kept(model) == {"bias", "head_bias", "bias_table", "scale"}
    attention = nn.MultiheadAttention(4, 2, add_bias_kv=True)
    assert {"bias_k", "bias_v", "in_proj_bias"} <= kept(attention)


def test_the_gain_of_weight_normalisation_does_not_decay():
    assert tail(kept(parametrizations.weight_norm(nn.Linear(4, 3)))) == {
        "parametrizations.weight.original0"
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = nn.utils.weight_norm(nn.Conv1d(4, 3, 2))
    assert tail(kept(old)) == {"weight_g"}


class Half(nn.Module):
    def forward(self, x):
        return x / 2


def test_parametrized_gains_and_biases_are_what_they_were():
    norm = nn.LayerNorm([5, 4])
    parametrize.register_parametrization(norm, "weight", Half())
    assert len(kept(norm)) == 2
    model = nn.Module()
    model.bias = nn.Parameter(torch.zeros(2, 3))
    parametrize.register_parametrization(model, "bias", Half())
    assert kept(model) == {"parametrizations.bias.original"}


def pruned(layer):
    return prune.identity(layer, "weight")


def halved(layer):
    return parametrize.register_parametrization(layer, "weight", Half())


@pytest.mark.filterwarnings("ignore")  # two of these are deprecated, and still in use
@pytest.mark.parametrize("named", ["weight", "module.weight", "0.weight"])
@pytest.mark.parametrize(
    "computing",
    [
        pruned,
        halved,
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        parametrizations.orthogonal,
    ],
)
def test_the_name_of_a_computed_weight_means_what_it_is_computed_from(computing, named):
    layer = computing(nn.Linear(4, 4))
    inside = {"weight": lambda m: m, "module.weight": nn.DataParallel, "0.weight": nn.Sequential}
    model = inside[named](layer)
    assert any(p.ndim > 1 and id(p) not in undecayed.ids(model) for p in model.parameters())
    model.no_weight_decay = lambda: {named}
    assert {id(p) for p in model.parameters()} == undecayed.ids(model)


def test_a_computed_parameter_of_the_model_itself_is_found():
    model = Backbone()
    prune.identity(model, "pos_embed")
    assert "pos_embed_orig" in kept(model)


def test_what_looks_computed_and_is_not_decays():
    model = nn.Module()
    model.scale, model.scale_orig = (nn.Parameter(torch.zeros(2, 3)) for _ in range(2))
    model.no_weight_decay = lambda: {"scale"}
    assert kept(model) == {"scale"}
    del model.scale
    with pytest.raises(ValueError, match="got 'scale', which it does not have"):
        split(model, 0.1)


class OfTheClass(Backbone):
    @classmethod
    def no_weight_decay(cls):
        return ["pos_embed"]


class AsProperty(Backbone):
    @property
    def no_weight_decay(self):
        return ("pos_embed",)


class AsSet(Backbone):
    no_weight_decay = frozenset({"pos_embed"})


class Lazily(Backbone):
    def no_weight_decay(self):
        yield "pos_embed"


@pytest.mark.parametrize("cls", [OfTheClass, AsProperty, AsSet, Lazily])
def test_names_are_found_however_a_model_gives_them(cls):
    assert "pos_embed" in kept(cls())


@pytest.mark.parametrize("given", ["pos_embed", None, 3, ["pos_embed", None]])
def test_what_is_no_set_of_names_is_refused(given):
    model = Backbone()
    model.no_weight_decay = lambda: given
    sentence = f"no_weight_decay of Backbone must give a set of names, got {given!r}"
    with pytest.raises(TypeError, match=f"^{re.escape(sentence)}"):
        split(model, 0.1)
    with pytest.raises(TypeError, match=f"^{re.escape(sentence)}"):
        layerwise(model, 1e-3, 0.7, 0.1)


def test_a_model_may_say_that_it_names_none():
    model = Backbone()
    model.no_weight_decay = None
    assert "pos_embed" not in kept(model)
