"""Which parameters of a model are hidden matrices: by shape, by layer and by name.

Those are what Muon orthogonalises. Embeddings and the layer that makes the output are none: a row
of them belongs to one token or class, and is not mixed with the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from torch import Tensor
from torch.nn import Embedding, EmbeddingBag, Module, ModuleList, Parameter, Sequential

from autotune.optimizers import undecayed
from autotune.optimizers.wrappers import bare, holders, inner

# Parts of names, as models have them: word_embeddings, patch_embed, wte, cls_token, pos_emb.
_EMBEDDING = re.compile(r"embed|^w[tp]e$|_emb$|_tokens?$", re.IGNORECASE)
# What a model calls its last layer, at its top.
_HEADS = re.compile(
    r"^(\w+_)?heads?(_dist)?$|^(classifier|fc|score|logits|to_logits|output|cls|qa_outputs)$"
)
_LISTS = (ModuleList, Sequential)


def ids(model: Module) -> set[int]:
    """Return the identities of a model's hidden matrices.

    That is what has at least two dimensions, and is in no embedding, no normalisation, no bias and
    not in the head: a part at the top of the model with such a name, else the last matrix, if it is
    in none of the model's blocks.
    """
    left_out = {*undecayed.ids(model), *_embeddings(model)}
    named = [(name, p) for name, p in _named(model) if p.ndim >= 2]
    heads = {id(p) for name, p in named if _HEADS.search(name.partition(".")[0])}
    kept = [(name, p) for name, p in named if id(p) not in left_out]
    if not heads and kept and not _in_block(model, kept[-1][0]):
        heads = {id(kept[-1][1])}
    return {id(p) for _, p in kept} - heads


def is_matrix(p: Tensor) -> bool:
    """Return whether a parameter can be taken for a matrix: rows, and all that follows."""
    return p.ndim >= 2


def _named(model: Module) -> list[tuple[str, Parameter]]:
    """Return all names, also those that share a parameter, without the parts of wrappers."""
    holding = holders(model)
    found = model.named_parameters(remove_duplicate=False)
    return [(bare(name, holding), p) for name, p in found]


def _embeddings(model: Module) -> Iterator[int]:
    for module in model.modules():
        if isinstance(module, Embedding | EmbeddingBag):
            yield from (id(p) for p in module.parameters())
    for name, p in _named(model):
        if any(map(_EMBEDDING.search, name.split("."))):
            yield id(p)


def _in_block(model: Module, name: str) -> bool:
    """Return whether a parameter is inside a member of a list that has layers of its own."""
    owner = inner(model)
    for part in name.split(".")[:-1]:
        held = owner._modules.get(part)
        if held is None:
            return False
        member = inner(held)
        if isinstance(owner, _LISTS) and any(True for _ in member.children()):
            return True
        owner = member
    return False
