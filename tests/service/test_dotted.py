"""A server imports no package that its operator has not named."""

from autotune.testing.remote import BODY


def answer(client, optimizer):
    return client.post("/v1/searches:validate", json={**BODY, "optimizers": [optimizer]})


def test_torchs_own_optimizers_are_searched(client):
    found = answer(client, "torch.optim.RMSprop")
    assert found.status_code == 200
    assert "lr" in found.json()["spaces"]["torch.optim.RMSprop"]


def test_other_packages_are_imported_only_where_the_operator_says_so(client, monkeypatch):
    monkeypatch.delenv("AUTOTUNE_ALLOWED_OPTIMIZERS", raising=False)
    found = answer(client, "nosuchpackage.Adam")
    assert found.status_code == 422
    assert found.json()["detail"] == (
        "optimizer 'nosuchpackage.Adam' is of a package that this server does not import; add "
        "nosuchpackage to AUTOTUNE_ALLOWED_OPTIMIZERS where the server is started"
    )
    monkeypatch.setenv("AUTOTUNE_ALLOWED_OPTIMIZERS", "other, nosuchpackage")
    found = answer(client, "nosuchpackage.Adam")
    assert "needs the package 'nosuchpackage', which is not installed" in found.json()["detail"]
