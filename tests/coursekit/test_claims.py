"""Every marked sentence of the course follows from a results file, and no check passes whatever the file says."""

import importlib.util
import json
import re

import pytest
from claims import CLAIMS, results

from coursekit import ROOT
from coursekit.site.sources import CLAIM_MARK

TEXTS = [ROOT / "README.md", *sorted((ROOT / "notebooks").rglob("*.md")), *sorted((ROOT / "notebooks").glob("*.ipynb"))]


def prose(path):
    """The text of a page, or of the text cells of a notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    return "\n\n".join("".join(c["source"]) for c in json.loads(text)["cells"] if c["cell_type"] == "markdown")


PROSE = {path.name: prose(path) for path in TEXTS}


def test_every_marked_sentence_has_a_check_and_every_check_a_marked_sentence():
    marked = {name for text in PROSE.values() for name in CLAIM_MARK.findall(text)}
    assert marked == set(CLAIMS)


@pytest.mark.parametrize("name", PROSE)
def test_a_mark_stands_right_after_its_sentence_and_names_its_chapter(name):
    for found in CLAIM_MARK.finditer(PROSE[name]):
        before = PROSE[name][: found.start()]
        assert re.search(r"[\w)`*][.!?:][*_)]*$", before), before[-80:]
        assert found[1].startswith("readme" if name == "README.md" else f"{name[:2]}-")


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_the_results_support_the_claim(claim):
    conditions = claim.conditions()
    assert conditions and all(conditions), conditions


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_a_falsified_copy_of_the_results_contradicts_the_claim(claim):
    """Each falsification does, and each condition of the claim fails on one of them."""
    falsified = [claim.conditions(falsify) for falsify in claim.falsifications]
    assert falsified and not any(map(all, falsified))
    assert not [number for number, holds in enumerate(zip(*falsified, strict=True)) if all(holds)]


def experiment_tables():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "benchmarks" / "experiment_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_the_readme_is_that_of_the_results():
    module, readme = experiment_tables(), (ROOT / "README.md").read_text()
    assert module.with_table(readme, module.readme_table(results("experiment"))) == readme


def test_the_tables_of_the_experiment_are_those_of_its_runs():
    """Chapter 11 shows the tables; the claims are checked on the runs."""
    experiment = results("experiment")
    assert json.loads(json.dumps(experiment_tables().tables(experiment))) == experiment["tables"]
