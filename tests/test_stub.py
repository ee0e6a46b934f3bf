"""The generated stub file is what the generator makes now."""

from tests.stub import PATH, stub


def test_stub_is_current():
    assert PATH.read_text(encoding="utf-8") == stub(), "run `python -m tests.stub`"
