"""CONTRIBUTING.md shows the layers and the imports of the chapters as they are."""

from coursekit.architecture import PAGE, drawing, is_package, layers, page
from coursekit.build import chapters
from coursekit.changes import chapter_code, closure, imported_modules
from coursekit.paths import ROOT


def test_the_page_is_up_to_date():
    assert page() == PAGE.read_text(encoding="utf-8"), "run python -m coursekit.architecture"


def test_every_part_of_the_library_is_in_a_layer():
    root = PAGE.parent / "rarft"
    names = {path.stem for path in root.iterdir() if path.suffix in ("", ".py") and not path.name.startswith("__")}
    named = {name for layer in layers() for name in layer}
    assert named == names - {"__pycache__"} and all(name in drawing() for name in named)
    assert all((root / name).exists() if is_package(name) else (root / f"{name}.py").exists() for name in named)


def test_the_library_is_small_at_its_root():
    names = [path for path in (PAGE.parent / "rarft").iterdir() if path.suffix == ".py" or path.is_dir()]
    assert len([path for path in names if path.name != "__pycache__"]) <= 18


def test_every_module_is_reached_by_a_chapter_a_command_or_a_benchmark():
    benchmarks = (path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").rglob("*.py"))
    named = set().union(*map(imported_modules, [*map(chapter_code, chapters()), *benchmarks]))
    commands = {f"rarft.cli.{path.stem}" for path in (ROOT / "rarft" / "cli").glob("*.py")}
    library = {path for path in (ROOT / "rarft").rglob("*.py") if path.name != "__main__.py"}
    assert library <= closure(named | commands)
