"""Begin the searches that `.ci/fuzz` calls: one that is over, one with a trial in hand, others."""

from __future__ import annotations

import os

import httpx2

from autotune.testing.remote import BODY, Insists, lease, train

with httpx2.Client(
    base_url=os.environ["SERVER"],
    headers={"Authorization": f"Bearer {os.environ['AUTOTUNE_TOKEN']}"},
    timeout=60,
) as client:
    insists = Insists(client, httpx2.TransportError, 0.2)
    for name in ("over", "vit", *(f"spare{number}" for number in range(16))):
        insists.put(f"/v1/searches/{name}", json=dict(BODY)).raise_for_status()
    train(client, "over")
    lease(client, search="vit")
