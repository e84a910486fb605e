"""NumPy's arrays, numbers and dtypes as data."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as npst

from mincemeat.decoding import arrays
from mincemeat.decoding.coding import PLAIN, DataCoding
from mincemeat.errors import RefusedAsData

CODING = DataCoding([])
FIELDS = np.dtype([("a", "<i4"), ("b", ">f8"), ("c", "<U3"), ("d", "<i2", (2, 3)), ("e", [("f", "<M8[us]")])])
GAPS = np.dtype({"names": ["a", "b"], "formats": ["<i4", "<f8"], "offsets": [4, 16], "itemsize": 32})


def check_comes_back(value: Any) -> None:
    data = CODING.dumps(value)
    assert b"numpy" not in data  # so that no version of it has to be the same
    for back in (CODING.loads(data), PLAIN.loads(data)):
        assert type(back) is type(value)
        assert back.dtype == value.dtype
        np.testing.assert_array_equal(back, value)
        if isinstance(value, np.ndarray):
            assert back.shape == value.shape
            assert back.flags.writeable
            assert back.flags.f_contiguous == (value.flags.f_contiguous or value.ndim < 2)


@given(npst.arrays(npst.scalar_dtypes(), npst.array_shapes(min_dims=0, min_side=0, max_side=4)))
def test_arrays_come_back(array: np.ndarray[Any, Any]) -> None:
    check_comes_back(array)
    for scalar in array.ravel()[:2]:
        check_comes_back(scalar)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(12).reshape(3, 4).T,
        np.arange(12)[::2],
        np.zeros((2, 0)),
        np.array(["a", "bcd", ""]),
        np.array([b"a", b""]),
        np.zeros(3, FIELDS),
        np.zeros((2, 2), GAPS),
        np.zeros(2, FIELDS)[1],
        np.array([1, "a", None, [1, 2]], dtype=object),
        np.array([[1, "a"], [None, (1,)]], dtype=object),
        np.array(["NaT", "2020-01-01"], dtype="M8[25s]"),
        np.str_("text"),
        np.str_(""),
        np.bytes_(b""),
        np.datetime64("NaT"),
        np.longdouble(1.5),
    ],
    ids=repr,
)
def test_odd_arrays_come_back(value: Any) -> None:
    check_comes_back(value)


@pytest.mark.parametrize("dtype", [np.dtype("f8"), np.dtype(">i2"), np.dtype(object), FIELDS, GAPS], ids=str)
def test_dtypes_come_back(dtype: np.dtype[Any]) -> None:
    assert CODING.loads(CODING.dumps(dtype)) == dtype


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (np.ma.array([1]), "numpy.ma.core._mareconstruct"),
        (np.zeros(1, [("a", object)]), "the dtype .* of a numpy array is no data"),
        (np.zeros(1, [("a", int)]).view(np.recarray), "numpy"),
        (np.random.default_rng(), "numpy.random"),
    ],
    ids=["masked", "objects in fields", "records", "generator"],
)
def test_what_is_no_data_is_refused(value: Any, name: str) -> None:
    with pytest.raises(RefusedAsData, match=name):
        CODING.dumps(value)


def test_numpys_own_pickles_are_refused() -> None:
    """They give a dtype its sizes and flags, which NumPy believes."""
    for value in (np.arange(3), np.array([None]), np.float64(1)):
        with pytest.raises(RefusedAsData, match="numpy"):
            CODING.loads(pickle.dumps(value, 5))


@pytest.mark.parametrize(
    "descr",
    [
        "i4,f8", "(2)i4", "O", "|O8", "object", "numpy.object_", "", "i4 ", "<V8;", ["|O"], [("a",)], [("a", "|O")],
        [(1, "<i4")], [["a", "<i4"]], ("<i4", 3), ("<i4", (-1,)), ("<i4", ((1,),)), [("a", "<i4", (2**70,))], None, 7,
        {"names": ["a"], "formats": ["<i4"]}, [("a", [("b", ("|O", (1,)))])],
    ],
    ids=str,
)  # fmt: skip
def test_descriptions_that_say_more_than_data_are_refused(descr: Any) -> None:
    with pytest.raises(RefusedAsData):
        arrays.array_of(descr, (), "C", bytearray(8))


def test_descriptions_are_bounded_in_depth() -> None:
    descr: Any = "<i4"
    for _ in range(100_000):
        descr = [("a", descr)]
    with pytest.raises(RefusedAsData, match="too deep"):
        arrays.dtype_of(descr)


@pytest.mark.parametrize(
    ("shape", "order", "data"),
    [
        ((2,), "C", bytearray(15)), ((2,), "C", bytearray(24)), ((-2,), "C", bytearray()), ((2.0,), "C", bytearray(16)),
        ([2], "C", bytearray(16)), ((2**62, 2**62), "C", bytearray(8)), ((1,) * 99, "C", bytearray(8)),
        ((1,), "A", bytearray(8)), ((1,), "C", b"12345678"), ((True,), "C", bytearray(8)),
    ],
)  # fmt: skip
def test_arrays_are_as_large_as_their_bytes(shape: Any, order: Any, data: Any) -> None:
    with pytest.raises(RefusedAsData):
        arrays.array_of("<f8", shape, order, data)


def test_an_array_of_objects_has_as_many_as_its_shape() -> None:
    for shape, elements in (((3,), [1]), ((10**9,), []), ((2,), (1, 2))):
        with pytest.raises(RefusedAsData):
            arrays.objects_of(shape, elements)  # type: ignore[arg-type]
