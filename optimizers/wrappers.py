"""What wrappers of modules put into names, and how to see through it."""

from __future__ import annotations

from collections import Counter

from torch.nn import DataParallel, Module
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

# Of torch.compile, FSDP and checkpoint_wrapper.
_PARTS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
_HOLDERS = (DataParallel, DistributedDataParallel, AveragedModel)  # have what they hold as 'module'


def holders(model: Module) -> Counter[str]:
    """Count, by bare name, the modules inside that hold what they wrap as 'module'."""
    found: Counter[str] = Counter()
    for name, child in model.named_modules():
        if isinstance(child, _HOLDERS):
            found[bare(name, found)] += 1
    return found


def bare(name: str, holding: Counter[str]) -> str:
    """Return a name without the parts that wrappers put into it."""
    kept: list[str] = []
    held = 0  # how many of the holders at this place were passed
    for part in name.split("."):
        if part == "module" and held < holding[".".join(kept)]:
            held += 1
        elif part not in _PARTS:
            kept.append(part)
            held = 0
    return ".".join(kept)


def inner(module: Module) -> Module:
    """Return what a module wraps, or itself."""
    within = next((module._modules[part] for part in _PARTS if part in module._modules), None)
    if within is None and isinstance(module, _HOLDERS):
        within = module._modules.get("module")
    return module if within is None else inner(within)
