"""The fast parser gives exactly the values of `float`, or None for the slower parser to decide."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.utils.files import parse_rows
from lib.utils.numbers import parse_plain

WORDS = st.one_of(
    st.integers(-(10**15) + 1, 10**15 - 1).map(str),
    st.decimals(-9999, 9999, places=4).map("{:f}".format),
    st.floats(-1e4, 1e4).map("{:.6f}".format),
    st.sampled_from(["0", "-0", "007", ".5", "-.25", "5.", "0.1", "999999999999999", "0.00000000000001"]),
)
GAPS = st.sampled_from([",", " ", "\t", ", ", "  ", ",\t"])


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_numbers_equal_those_of_float_bit_for_bit(data):
    width = data.draw(st.integers(1, 8))
    rows = data.draw(st.lists(st.lists(WORDS, min_size=width, max_size=width), min_size=1, max_size=6))
    breaks = st.sampled_from(["\n", "\r\n", "\n\n", " \n", ",\n"])
    text = "".join(data.draw(GAPS).join(row) + data.draw(breaks) for row in rows)
    found = parse_plain(data.draw(st.sampled_from([text, text.rstrip(), "\n" + text])).encode())
    expected = np.array([[float(word) for word in row] for row in rows])
    np.testing.assert_array_equal(found.view(np.int64), expected.view(np.int64))


@pytest.mark.parametrize(
    "text",
    ["", "\n \n", "1 2\n3\n", "1\n2 3\n", "1 2 3\n4 5 6 7\n8 9\n", "1e5", "nan", "+1", "1-2", "--1", "-", ".", "1.2.3"]
    + ["1234567890123456", "1;2", "1 2\x0c3 4", "１ ２", "-.", "1 - 2"],
)
def test_unusual_numbers_are_left_to_the_slower_parser(text):
    assert parse_plain(text.encode()) is None


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.floats(allow_nan=True), min_size=4, max_size=4), min_size=1, max_size=5))
def test_any_number_that_python_writes_is_read_back(rows):
    text = "\n".join(" ".join(map(repr, row)) for row in rows)
    np.testing.assert_array_equal(parse_rows(text, "x"), np.array(rows))


def test_real_files_are_read_as_numpy_reads_them(shared):
    for path in sorted((shared / "reference/results").rglob("*.txt"))[::25]:
        text = path.read_text().replace(",", " ")
        if "_001" not in path.stem:
            np.testing.assert_array_equal(parse_rows(text, "x", (1, 4, 8)), np.loadtxt(text.splitlines(), ndmin=2))
