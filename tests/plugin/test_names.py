from __future__ import annotations

import pytest

from histokit.plugin.names import differ_in_case, is_stored_name, stored_name


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("patient.id", "patient_id"),
        ("_rowid", "rowid_"),
        ("_index", "index_"),
        ("a`b", "a_b"),
        ("a\tb", "a_b"),
        ("__", "column__"),
        ("well/row", "well/row"),
        ("a b", "a b"),
    ],
)
def test_what_the_store_calls_a_column(name: str, stored: str) -> None:
    assert stored_name(name) == stored
    assert is_stored_name(stored)
    assert is_stored_name(name) == (name == stored)


@pytest.mark.parametrize("name", ["", " a", "a ", "e\u0301", "\ud800", "a\u2028b"])
def test_names_that_no_column_has(name: str) -> None:
    assert not is_stored_name(name)


def test_names_that_differ_in_case_alone() -> None:
    assert differ_in_case(["Age", "sex", "age"]) == ("Age", "age")
    assert differ_in_case(["Straße", "STRASSE"]) == ("Straße", "STRASSE")
    assert differ_in_case(["\u00e9", "e\u0301"]) == ("\u00e9", "e\u0301")
    assert differ_in_case(["a", "b"]) is None
