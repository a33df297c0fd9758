"""Lists in messages are short."""

from lib.utils.texts import shorten


def test_five_items_are_listed_and_the_rest_is_counted():
    names = [f"n{number}" for number in range(245)]
    assert shorten(names[:5]) == "n0, n1, n2, n3, n4"
    assert shorten(names) == "n0, n1, n2, n3, n4 and 240 more"
    assert shorten(names[:3], "; ", most=1) == "n0 and 2 more" and shorten([]) == ""
