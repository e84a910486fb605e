"""The two ways of making a digest, compiled and plain, give the same numbers."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mincemeat.shuffle import texttable
from mincemeat.shuffle.digest_sums import hash_of_key, sum_of_columns
from tests.kit.ways import only_compiled as each_way  # noqa: F401 - instead of the room's

_OF_A_KIND = [st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary()]
plain = st.one_of(_OF_A_KIND)
surrogates = st.text(st.characters(exclude_categories=[]), max_size=5)
keys = st.one_of(plain, surrogates, st.tuples(plain, plain), st.tuples(plain, st.tuples(plain)), st.frozensets(plain))
values = st.one_of(
    plain, surrogates, st.lists(plain), st.tuples(plain, plain), st.sets(st.integers()), st.lists(st.lists(plain))
)
# Columns of one kind go another way than mixed ones.
columns_of_pairs = st.one_of(
    st.lists(st.tuples(keys, values)),
    st.one_of(
        [st.lists(st.tuples(one, other)) for one in (surrogates, st.integers()) for other in (*_OF_A_KIND, surrogates)]
    ),
)


@given(columns_of_pairs)
def test_compiled_digests_are_those_of_plain_python(pairs: list[tuple[Any, Any]]) -> None:
    of_keys, of_values = [key for key, _ in pairs], [value for _, value in pairs]
    compiled = texttable.compiled.digest_columns
    assert compiled(of_keys, of_values, True, False, hash_of_key) == sum_of_columns(of_keys, of_values, single=True)
    lists = [[value, value] for value in of_values]
    assert compiled(of_keys, lists, False, False, hash_of_key) == sum_of_columns(of_keys, lists, single=False)


@given(st.lists(st.tuples(keys, st.integers())))
def test_compiled_digests_of_sums_are_those_of_plain_python(pairs: list[tuple[Any, int]]) -> None:
    of_keys, sums = [key for key, _ in pairs], [value for _, value in pairs]
    found = texttable.compiled.digest_columns(of_keys, sums, True, True, hash_of_key)
    assert found == sum_of_columns(of_keys, sums, single=True, is_sum=True)
