"""What schemathesis is told of the service by `make fuzz`: which resources are there."""

from __future__ import annotations

import random

import schemathesis

# Of .ci/fuzz: a search that is over, one that is not, and the tokens that calls are made with.
OVER, GOING, OPTIMIZER, TRIALS, OWN = "over", "vit", "adamw", 8, 100
SPARE = tuple(f"spare{number}" for number in range(16))  # searches to delete
THERE = {
    "name": (OVER, GOING),
    "optimizer": (OPTIMIZER,),
    "number": tuple(range(TRIALS)),
    "lease": tuple(f"{trial}.1" for trial in range(1, 4 * TRIALS)),
}
NEW = ("PUT /v1/searches/{name}", "POST /v1/tokens")
LONGEST = 0.2  # seconds that a stream may last


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Name what is there half of the time: else nearly all would be a 404."""
    chance = random.Random(str(path_parameters))
    path_parameters = path_parameters or {}
    for key, values in THERE.items():
        if key in path_parameters and context.operation.label not in NEW and chance.random() < 0.5:
            path_parameters[key] = chance.choice(values)
    if context.operation.method.upper() == "DELETE":
        if path_parameters.get("name") == OVER:
            path_parameters["name"] = chance.choice(SPARE)
        if _own(path_parameters.get("number")):
            path_parameters["number"] = OWN + TRIALS
    return path_parameters


def _own(number):
    """Return whether this may be the number of a token of this run, in whatever form."""
    try:
        return float(number) < OWN
    except (TypeError, ValueError):
        return False


@schemathesis.hook
def map_query(context, query):
    """End streams soon: they would last."""
    if context.operation.path.endswith("/events"):
        query = query or {}
        given = query.get("seconds")
        if not isinstance(given, (int, float)) or given > LONGEST:
            query["seconds"] = LONGEST
    return query


@schemathesis.hook
def map_headers(context, headers):
    """Hold no ask for long, and mean what is there half of the time."""
    headers = headers or {}
    for name in list(headers):
        if name.lower() == "prefer":
            headers[name] = "wait=1"
        if name.lower() == "if-match" and random.Random(headers[name]).random() < 0.5:
            headers[name] = "*"
    return headers
