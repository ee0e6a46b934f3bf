"""The pages in docs/ run: every example, with what it prints. No network, no data but the package's own."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page(page):
    text = page.read_text(encoding="utf-8")
    test = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    output: list[str] = []
    found = doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=output.append)
    assert not found.failed, "".join(output)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert link.startswith("http") or (page.parent / link).exists(), link


def test_the_tutorials_are_there():
    names = {page.stem for page in PAGES}
    assert {"conv2d", "backward", "own-op", "find-the-bug", "reproduce-lenet", "speed"} <= names


def test_the_reading_path():
    """At most 10 files and 2,000 lines, and the README says how many."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    path = readme.split("## Read it")[1].split("\n## ")[0]
    files = list(dict.fromkeys(re.findall(r"\]\(([^)]+\.py)\)", path)))
    lines = sum(len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in files)
    assert files[0] == "minidl/tensor.py" and files[-1] == "kernels/cpu/gemm.py"
    assert len(files) <= 10 and lines <= 2000
    said = re.search(r"(\w+) files, ([\d,]+) lines", path)
    assert said[1] == "Ten" and len(files) == 10 and abs(int(said[2].replace(",", "")) - lines) <= 50


@pytest.mark.slow
def test_the_reference_is_built_from_the_docstrings(tmp_path):
    pytest.importorskip("pdoc")
    subprocess.run([sys.executable, "-m", "pdoc", "-o", str(tmp_path), "minidl"], cwd=ROOT, check=True, capture_output=True)
    page = (tmp_path / "minidl/nn/conv.html").read_text(encoding="utf-8")
    assert "Conv2d" in page and "padding" in page
    assert (tmp_path / "minidl/testing.html").exists() and (tmp_path / "minidl/kernels/portable/im2col.html").exists()
