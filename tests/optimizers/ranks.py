"""One of two processes that train together; test_distributed starts both and asks for results.

A question is a line of JSON, the name of a function below and its arguments; so is the answer.
"""

import copy
import json
import sys
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import _functional_collectives as collectives
from torch.distributed import checkpoint
from torch.distributed.checkpoint import state_dict as portable
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, ShardingStrategy, fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from autotune.optimizers import LAMB, Adan, create, layerwise, split
from autotune.optimizers.registry import resolve

RANK = int(sys.argv[1])
HALVED = {"state_dtype": torch.bfloat16, "stochastic_rounding": True, "compact": True}
HYPER = {"lr": 0.1, "weight_decay": 0.2, "max_grad_norm": 0.1}


def network():
    """Return a model whose last layer leaves the second process nothing."""
    torch.manual_seed(0)
    first, last = torch.nn.Linear(5, 3), torch.nn.Linear(3, 1)
    return torch.nn.Sequential(first, torch.nn.Tanh(), last).double()


def cut():
    model = network()
    for part in (model[0], model[2], model):
        fully_shard(part)
    return model


def batch(k):
    draw = torch.Generator().manual_seed(k)
    return torch.randn(4, 5, generator=draw, dtype=torch.float64)


def half(k):
    return batch(k)[2 * RANK : 2 * RANK + 2]


def train(model, optimizer, steps, inputs):
    for k in steps:
        optimizer.zero_grad()
        model(inputs(k)).square().mean().backward()
        optimizer.step()


def alone(name, steps=3, **hyper):
    """Return where one process with the whole batch ends."""
    model = network()
    train(model, create(name, model.parameters(), backend="torch", **hyper), range(steps), batch)
    return numbers(model.parameters())


def numbers(params):
    return [whole(p).flatten().tolist() for p in params]


def whole(tensor):
    tensor = tensor.detach()
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def replicated(name):
    model = network()
    parallel = DistributedDataParallel(model)
    optimizer = create(name, model.parameters(), backend="torch", **HYPER)
    train(parallel, optimizer, range(3), half)
    return numbers(model.parameters()), alone(name, **HYPER)


def sharded(name, backend):
    model = cut()
    optimizer = create(name, model.parameters(), backend=backend, **HYPER)
    train(model, optimizer, range(3), half)
    return numbers(model.parameters()), alone(name, **HYPER)


def compiled(name):
    """Train a sharded model whose optimizer's step is compiled as one graph."""
    torch._dynamo.reset()
    model = cut()
    optimizer = create(name, model.parameters(), backend="torch", **HYPER)
    step = torch.compile(optimizer.step, backend="aot_eager", fullgraph=True)
    for k in range(3):
        optimizer.zero_grad()
        model(half(k)).square().mean().backward()
        step()
    return numbers(model.parameters()), alone(name, **HYPER)


def begun_again(name, compact):
    """Shrink the weights between two steps, cut and whole, and let sequences begin again there."""
    ends = []
    for model, inputs in ((cut(), half), (network(), batch)):
        optimizer = create(name, model.parameters(), backend="torch", compact=compact, **HYPER)
        train(model, optimizer, range(2), inputs)
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(0.25)
        optimizer.reanchor()
        train(model, optimizer, range(2, 3), inputs)
        ends.append(numbers(model.parameters()))
    return ends


def pieces():
    """Return how many numbers of each parameter this process has."""
    return [p.to_local().numel() for p in cut().parameters()]


def laid_out():
    """Step parameters that lie in every way across a mesh, one of them plain."""
    flat, nested = init_device_mesh("cpu", (2,)), init_device_mesh("cpu", (2, 1))
    ways = [(flat, [Shard(0)]), (flat, [Replicate()]), (nested, [Replicate(), Shard(0)]), None]
    ways += [(flat, [Shard(1)])]
    plain, spread = [], []
    for k, way in enumerate(ways):
        p, g = batch(k), batch(k + 10)
        plain.append(torch.nn.Parameter(p.clone()))
        plain[-1].grad = g.clone()
        lie = (lambda t, way=way: distribute_tensor(t, *way)) if way else torch.clone
        spread.append(torch.nn.Parameter(lie(p)))
        spread[-1].grad = lie(g)
    for params in (plain, spread):
        LAMB(params, backend="torch", **HYPER).step()
    return numbers(spread), numbers(plain)


def clipped():
    """Clip a plain tensor, one that every process has whole, and one that is cut: it is refused."""
    mesh, ends, told = init_device_mesh("cpu", (2,)), [], ""
    for way in (None, [Replicate()], [Shard(0)]):
        lie = (lambda t, way=way: distribute_tensor(t, mesh, way)) if way else torch.clone
        p = torch.nn.Parameter(lie(batch(0)))
        p.grad = lie(batch(1))
        try:
            create("lamb", [p], backend="torch", coord_clip=0.3, **HYPER).step()
        except ValueError as error:
            told = str(error)
        ends.append(numbers([p]))
    return ends[0], ends[1], told


def redistributed():
    """Step a cut parameter whose gradient every process has whole."""
    mesh = init_device_mesh("cpu", (2,))
    p, q = (torch.nn.Parameter(batch(0)) for _ in range(2))
    p = torch.nn.Parameter(distribute_tensor(p.detach(), mesh, [Shard(0)]))
    p.grad, q.grad = distribute_tensor(batch(1), mesh, [Replicate()]), batch(1)
    for params in ([p], [q]):
        Adan(params, backend="torch", **HYPER).step()
    return numbers([p]), numbers([q])


def pending(backend):
    """Step by gradients that other processes are still sending: a DTensor's and a plain one."""
    mesh = init_device_mesh("cpu", (2,))
    cut = torch.nn.Parameter(distribute_tensor(batch(0), mesh, [Shard(0)]))
    plain, p, q = (torch.nn.Parameter(batch(k)) for k in (1, 0, 1))
    part = batch(RANK + 2)  # whose sum over the processes is the gradient
    sent = DTensor.from_local(part, mesh, [Partial()])
    cut.grad = sent.redistribute(placements=[Shard(0)], async_op=True)
    plain.grad = collectives.all_reduce(part, "sum", dist.group.WORLD)
    p.grad, q.grad = batch(2) + batch(3), batch(2) + batch(3)
    waiting = type(cut.grad._local_tensor) is type(plain.grad) is not torch.Tensor
    for params in ([cut, plain], [p, q]):
        LAMB(params, backend=backend, **HYPER).step()
    return waiting, numbers([cut, plain]), numbers([p, q])


def misfits():
    """Return why gradients are refused that are cut when their parameter is not, and otherwise."""
    mesh = init_device_mesh("cpu", (2,))
    spread = distribute_tensor(batch(0), mesh, [Shard(0)])
    told = []
    for values, gradient in ((batch(0), spread), (spread, batch(0))):
        p = torch.nn.Parameter(values)
        p.grad = gradient
        try:
            Adan([p]).step()
        except ValueError as error:
            told.append(str(error))
    return told


def flattened(name, backend, groups=False, strategy="FULL_SHARD", clip=0.0, norm_group=False):
    """Train under FSDP's first version; return where it ends, or why it is refused."""
    hyper = {**HYPER, "max_grad_norm": clip}
    try:
        model = network()
        params = split(model, 0.2) if groups else None
        model = FullyShardedDataParallel(
            model,
            use_orig_params=True,
            device_id=torch.device("cpu"),
            sharding_strategy=ShardingStrategy[strategy],
        )
        optimizer = create(name, params or model.parameters(), backend=backend, **hyper)
        optimizer.norm_group = dist.group.WORLD if norm_group else None
        train(model, optimizer, range(3), half)
    except ValueError as error:
        return str(error)
    single = network()
    params = split(single, 0.2) if groups else single.parameters()
    train(single, create(name, params, backend="torch", **hyper), range(3), batch)
    with FullyShardedDataParallel.summon_full_params(model):
        return numbers(model.parameters()), numbers(single.parameters())


def unsplit(orig):
    """Return why a model that is in pieces is refused, once in groups, once by LAMB."""
    model = FullyShardedDataParallel(network(), use_orig_params=orig, device_id=torch.device("cpu"))
    attempts = {
        "split": lambda: split(model, 0.2),
        "layerwise": lambda: layerwise(model, 0.1, 0.7, 0.2),
        "lamb": lambda: LAMB(model.parameters(), backend="torch").step(),
    }
    return {name: refusal(attempt) for name, attempt in attempts.items()}


def refusal(attempt):
    """Return how an attempt's refusal begins."""
    try:
        attempt()
    except ValueError as error:
        return str(error).split(", got ")[0]


def resumed(name, folder, halved):
    """Save a sharded run by torch.distributed.checkpoint, load it anew, and train both on."""
    precision = {"backend": "torch", **(HALVED if halved else {})}
    ends = []
    first = cut()
    optimizer = create(name, first.parameters(), **precision, **HYPER)
    train(first, optimizer, range(3), half)
    state = portable.get_optimizer_state_dict(first, optimizer)
    checkpoint.save({"optimizer": state}, checkpoint_id=folder)
    second = cut()
    other = create(name, second.parameters(), **precision)
    read = {"optimizer": portable.get_optimizer_state_dict(second, other)}
    checkpoint.load(read, checkpoint_id=folder)
    portable.set_optimizer_state_dict(second, other, read["optimizer"])
    portable.set_model_state_dict(second, portable.get_model_state_dict(first))
    for model, owner in ((first, optimizer), (second, other)):
        train(model, owner, range(3, 5), half)
        ends.append(numbers(model.parameters()))
    return ends


def gathered(name):
    """Go on in one process from the whole state of a sharded run."""
    model, single = cut(), network()
    optimizer = create(name, model.parameters(), backend="torch", **HYPER)
    train(model, optimizer, range(3), half)
    options = portable.StateDictOptions(full_state_dict=True)
    state = portable.get_optimizer_state_dict(model, optimizer, options=options)
    weights = portable.get_model_state_dict(model, options=options)
    if RANK:  # the whole is on the first process only
        train(model, optimizer, range(3, 5), half)
        return None
    single.load_state_dict(weights)
    for group in state["param_groups"]:
        group["params"] = list(range(len(group["params"])))
    state["state"] = dict(enumerate(state["state"].values()))
    other = create(name, single.parameters(), backend="torch")
    other.load_state_dict(state)
    train(single, other, range(3, 5), batch)
    train(model, optimizer, range(3, 5), half)
    return numbers(single.parameters()), alone(name, steps=5, **HYPER)


def refused():
    """Load the state of a whole parameter into a cut one."""
    single, model = network(), cut()
    plain = Adan(single.parameters(), backend="torch")
    train(single, plain, range(1), batch)
    try:
        Adan(model.parameters()).load_state_dict(plain.state_dict())
    except ValueError as error:
        return str(error)


def redundant(name):
    """Train by ZeroRedundancyOptimizer, and go on from its checkpoint in a plain optimizer."""
    model = network()
    parallel = DistributedDataParallel(model)
    cls, acceleration = resolve(name)
    whole = {"backend": "torch", "state_dtype": None, "compact": False}
    hyper = {**HYPER, "acceleration": acceleration, **whole}
    optimizer = ZeroRedundancyOptimizer(parallel.parameters(), optimizer_class=cls, **hyper)
    optimizer.optim.norm_group = dist.group.WORLD
    train(parallel, optimizer, range(3), half)
    middle = numbers(model.parameters())
    optimizer.consolidate_state_dict(to=0)
    box = [optimizer.state_dict() if RANK == 0 else None]
    dist.broadcast_object_list(box)
    other = create(name, model.parameters(), backend="torch")
    other.load_state_dict(copy.deepcopy(box[0]))
    train(parallel, other, range(3, 5), half)
    end = numbers(model.parameters())
    return [middle, end], [alone(name, **HYPER), alone(name, steps=5, **HYPER)]


def main():
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{sys.argv[2]}",
        rank=RANK,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    for line in sys.stdin:
        name, *given = json.loads(line)
        sys.stdout.write(json.dumps(globals()[name](*given)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
