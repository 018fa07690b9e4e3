"""Every MUST that binds existing code is named by a test, and the tool that says so can be trusted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support import conformance
from support.conformance import ConformanceError, Proof, Requirement

# What the tests name is collected once, by the one worker that needs it.
pytestmark = pytest.mark.xdist_group("conformance")


@pytest.fixture(scope="module")
def marks() -> dict[str, set[Proof]]:
    """What the tests of this checkout name."""
    return conformance.marks_of()


def test_every_served_must_is_named_by_a_test(marks: dict[str, set[Proof]]) -> None:
    assert conformance.missing(conformance.load_requirements(), marks) == []


def test_no_test_names_an_unknown_requirement(marks: dict[str, set[Proof]]) -> None:
    assert conformance.unknown(conformance.load_requirements(), marks) == []


def test_the_requirements_are_numbered_without_gaps() -> None:
    """An id is never reused or dropped, so a gap means that a requirement got lost."""
    numbers: dict[str, list[int]] = {}
    for requirement_id in conformance.load_requirements():
        section, _, number = requirement_id.partition("-")
        numbers.setdefault(section, []).append(int(number))
    assert numbers == {section: list(range(1, len(found) + 1)) for section, found in numbers.items()}
    assert set(numbers) == set(conformance.SECTIONS)


def collect(tmp_path: Path, source: str, **others: str) -> dict[str, set[str]]:
    """The ids that a test module with this source names, and by which tests."""
    (tmp_path / "test_sample.py").write_text(source, encoding="utf-8")
    (tmp_path / "support").mkdir()
    for name, text in others.items():
        (tmp_path / "support" / f"{name}.py").write_text(text, encoding="utf-8")
    return {
        requirement_id: {proof.name for proof in proofs}
        for requirement_id, proofs in conformance.marks_of(tmp_path).items()
    }


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param(
            '@pytest.mark.req("A-01", "A-02")\ndef test_x(): ...\n',
            {"A-01": {"test_x"}, "A-02": {"test_x"}},
            id="decorator",
        ),
        pytest.param(
            '@mark.req("A-01")\nasync def test_x(): ...\n', {"A-01": {"test_x"}}, id="mark imported alone"
        ),
        pytest.param(
            '@pytest.mark.req("A-01")\nclass TestX:\n    def test_y(self): ...\n',
            {"A-01": {"TestX::test_y"}},
            id="class decorator",
        ),
        pytest.param(
            'class TestX:\n    pytestmark = [pytest.mark.req("A-01")]\n    def test_y(self): ...\n',
            {"A-01": {"TestX::test_y"}},
            id="class pytestmark",
        ),
        pytest.param(
            'pytestmark = pytest.mark.req("A-01")\ndef test_x(): ...\ndef test_y(): ...\n',
            {"A-01": {"test_x", "test_y"}},
            id="module pytestmark",
        ),
        pytest.param(
            '@pytest.mark.parametrize("a", [pytest.param(1, marks=pytest.mark.req("A-01"))])\n'
            "def test_x(a): ...\n",
            {"A-01": {"test_x"}},
            id="parameter",
        ),
        pytest.param(
            'CASES = [pytest.param(1, marks=[pytest.mark.req("A-01")])]\n'
            '@pytest.mark.parametrize("a", CASES)\ndef test_x(a): ...\ndef test_y(): ...\n',
            {"A-01": {"test_x"}},
            id="parameter in a table",
        ),
        pytest.param(
            'def cases(): return [pytest.param(1, marks=pytest.mark.req("A-01"))]\n'
            "CASES = [*cases()]\n"
            '@pytest.mark.parametrize("a", CASES)\ndef test_x(a): ...\n',
            {"A-01": {"test_x"}},
            id="table of a table",
        ),
        pytest.param(
            '@pytest.fixture(params=[pytest.param(1, marks=pytest.mark.req("A-01"))])\n'
            "def server(request): ...\n"
            "def test_x(server): ...\n",
            {"A-01": {"test_x"}},
            id="parameter of a fixture",
        ),
        pytest.param(
            'from support.tables import CASES\n@pytest.mark.parametrize("a", CASES)\ndef test_x(a): ...\n',
            {"B-01": {"test_x"}},
            id="imported table",
        ),
        pytest.param(
            'from support import tables\n@pytest.mark.parametrize("a", tables.CASES)\ndef test_x(a): ...\n',
            {"B-01": {"test_x"}},
            id="table of an imported module",
        ),
        pytest.param('CASES = [pytest.param(1, marks=pytest.mark.req("A-01"))]\n', {}, id="table not used"),
        pytest.param('@pytest.mark.req("A-01")\ndef helper(): ...\n', {}, id="no test"),
        pytest.param('@pytest.mark.skip\n@pytest.mark.req("A-01")\ndef test_x(): ...\n', {}, id="skipped"),
        pytest.param(
            '@pytest.mark.req("A-01")\n@pytest.mark.xfail(reason="no")\ndef test_x(): ...\n',
            {},
            id="expected to fail",
        ),
        pytest.param(
            '@pytest.mark.parametrize("a", [pytest.param(1, marks=[pytest.mark.req("A-01"), '
            'pytest.mark.skip("no")])])\ndef test_x(a): ...\n',
            {},
            id="skipped parameter",
        ),
    ],
)
def test_marks_are_found_where_pytest_honours_them(
    tmp_path: Path, source: str, expected: dict[str, set[str]]
) -> None:
    assert (
        collect(tmp_path, source, tables='CASES = [pytest.param(1, marks=pytest.mark.req("B-01"))]')
        == expected
    )


@pytest.mark.parametrize("mark", ["req()", "req(*IDS)", "req(IDS)", 'req(id="A-01")'])
def test_a_mark_that_cannot_be_read_is_an_error(tmp_path: Path, mark: str) -> None:
    with pytest.raises(ConformanceError, match=r"test_sample\.py:1"):
        collect(tmp_path, f"@pytest.mark.{mark}\ndef test_x(): ...\n")


def requirement(requirement_id: str, level: str = "MUST", served: bool = True) -> Requirement:
    """A made-up requirement."""
    section = requirement_id.partition("-")[0]
    return Requirement(requirement_id, level, section, "both", "A | B. *PEP.* Ex.: c", served)


def test_missing_are_the_served_musts_without_a_test() -> None:
    rows = [
        requirement("E-01"),
        requirement("E-02"),
        requirement("E-03", served=False),
        requirement("E-04", level="SHOULD"),
        requirement("E-05", level="MUST NOT"),
    ]
    requirements = {row.id: row for row in rows}
    assert conformance.missing(requirements, {"E-01": {Proof("test_x.py", "test_y")}}) == ["E-02", "E-05"]


def test_unknown_ids_name_the_test_that_has_them() -> None:
    assert conformance.unknown({}, {"E-99": {Proof("test_x.py", "test_y")}}) == [
        "E-99 (named by test_x.py::test_y)"
    ]


def test_the_table_lists_requirement_and_proof() -> None:
    rows = {row.id: row for row in (requirement("E-01"), requirement("W-01", "SHOULD"))}
    lines = conformance.table(rows, {"E-01": {Proof("test_x.py", "test_y")}}).splitlines()
    assert r"| E-01 | MUST | A \| B. | `test_x.py::test_y` |" in lines
    assert r"| W-01 | SHOULD | A \| B. | none |" in lines


def test_the_command_prints_what_is_missing_and_writes_the_table(
    tmp_path: Path,
    marks: dict[str, set[Proof]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(conformance, "marks_of", lambda: marks)
    page = tmp_path / "reference" / "conformance.md"
    assert conformance.main(["--missing", "--table", str(page)]) == 0
    assert capsys.readouterr() == ("", "")
    assert page.read_text(encoding="utf-8").startswith("# Conformance\n")


def test_the_command_runs_as_a_script() -> None:
    """By its path and with nothing but the standard library, as documentation and CI call it."""
    done = subprocess.run(
        [sys.executable, "-I", conformance.__file__, "--help"],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert "--missing" in done.stdout


def test_the_command_fails_and_says_so_when_a_requirement_is_unproven(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(conformance, "marks_of", lambda: {"E-99": {Proof("test_x.py", "test_y")}})
    assert conformance.main(["--missing"]) == 1
    output = capsys.readouterr()
    assert "E-01" in output.out.splitlines()
    assert output.err == "conformance: no such requirement: E-99 (named by test_x.py::test_y)\n"
