"""A report answers its questions from one file, with nothing from outside."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import pytest
from click.testing import CliRunner

from autotune.app import advice, report
from autotune.cli import main
from autotune.results import comparison
from autotune.results.intervals import Estimate
from autotune.studies.store import Store
from autotune.testing import sample
from autotune.testing.longer import validated

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def written(sample_url, tmp_path_factory):
    """The report of the sample after a validation of it."""
    folder = tmp_path_factory.mktemp("report")
    shutil.copy(sample_url.removeprefix("sqlite:///"), folder / "longer.db")
    url = f"sqlite:///{folder}/longer.db"
    with Store(url) as store:
        validated(store, {"tuned": [0.5, 0.6], "default": [1.0, 1.1], "adamw": [0.9, 1.0]})
    return report.report(url, sample.NAME)


@pytest.fixture(scope="module")
def found(sample_url):
    with Store(sample_url, read_only=True) as store:
        return comparison.load(store, sample.NAME)


def body(text):
    """Return the page without the copy of Plotly in its head."""
    return text[text.index("<body>") :]


def words(text):
    """Return what a reader sees of the page, without figures."""
    return re.sub(r"<[^>]+>", " ", re.sub(r"<script.*?</script>", "", body(text), flags=re.DOTALL))


def test_a_report_answers_who_won_by_how_much_and_at_what_cost(written):
    told = " ".join(words(written).split())

    assert "adan-win has the lowest mean, not significantly below adan" in told
    assert "Tuned adan beats tuned adamw by 0.1887 (95% interval 0.1256 to 0.2517)" in told
    assert "autotune export resnet-mini/adan-win --as torch" in told
    assert "Wall time of the search" in told
    assert "tuned adan tuned adamw -0.1887 ± 0.0630 3 of 3 seeds" in told
    assert "adan: the loss moves most with learning rate (" in told
    assert "Tuned adan beside tuned adamw: lr " in told
    assert "autotune validate resnet-mini/adan-win --steps 5x tells whether" in told


def test_a_report_shows_what_became_of_it_in_longer_runs(written):
    told = " ".join(words(written).split())

    assert "adan holds at 5x" in told
    assert "Longer runs, not counted above: 6 runs of 1350 steps with adan." in told
    assert "adan in runs 5 times as long. loss after 1350 steps" in written
    assert "--steps 5x tells whether tuned adan-win holds" in told
    assert "--steps 5x tells whether tuned adan holds" not in told


def test_a_report_without_longer_runs_says_how_to_try_them(found):
    told = "".join(report.length(report.Found(comparison=found, trials={}, curves={}, told={})))

    assert "Not tried. All runs were of 270 steps" in told
    assert "autotune validate resnet-mini --steps 5x" in told


def test_more_seeds_are_advised_where_these_cannot_tell(found):
    spec = {**found.search.spec, "budget": {"runs": 20.0}}
    close = Estimate(mean=-0.1, low=-0.3, high=0.1, n=3)
    rows = tuple(
        replace(row, against_reference=close if row.optimizer == "adan" else None)
        for row in found.rows
    )
    unclear = replace(found, search=replace(found.search, spec=spec), rows=rows)

    first = next(advice.advice(unclear, {}))

    assert first.command == f"autotune search --resume {sample.NAME} --seeds 6 --runs 26"
    assert "could not tell adan from adamw" in first.does
    clear = next(advice.advice(replace(unclear, rows=found.rows), {}))
    assert clear.command == f"autotune validate {sample.NAME}/adan-win --steps 5x"


def test_a_report_holds_its_figures_and_asks_nobody(written):
    assert body(written).count("Plotly.newPlot") == 7
    assert "plotly.js v" in written[: written.index("<body>")]
    assert not re.search(r"""(?:src|href)\s*=\s*["']""", body(written))


def test_every_figure_of_a_report_is_told_in_words(written):
    said = re.findall(r'role="figure" aria-label="([^"]*)"', body(written))

    assert len(said) == 7
    assert "adan-win tuned: 1.262, from 1.243 to 1.282" in said[0]


def test_a_hostile_name_is_text(tmp_path):
    url = f"sqlite:///{tmp_path}/hostile.db"
    with Store(url) as store:
        store.create_search(HOSTILE.replace("/", "|"), {}, dict(sample.TASK), {"adan": {}}, {})

    text = report.report(url, HOSTILE.replace("/", "|"))

    assert "<script>alert" not in text
    assert "Nothing was judged yet" in words(text)


def test_a_report_does_not_overwrite_unless_told(tmp_path, sample_url):
    def run(*more):
        arguments = ["report", sample.NAME, "--storage", sample_url, "-o", str(file), *more]
        return CliRunner().invoke(main, arguments)

    file = tmp_path / "r.html"
    file.write_text("mine")
    refused = run()
    assert (refused.exit_code, file.read_text()) == (2, "mine")
    assert "add --force to overwrite it" in refused.stderr
    assert run("--force").exit_code == 0
    assert file.read_text().startswith("<!doctype html>")


def test_a_report_of_no_search_is_refused_in_a_sentence(tmp_path, sample_url):
    file = str(tmp_path / "r.html")
    told = CliRunner().invoke(main, ["report", "nobody", "--storage", sample_url, "-o", file])

    assert told.exit_code == 6
    assert "nobody" in told.stderr
    assert list(tmp_path.iterdir()) == []
