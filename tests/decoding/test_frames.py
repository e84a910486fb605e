"""pandas' frames, series, indexes and moments as data, where pandas is installed."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

pd = pytest.importorskip("pandas")
np = pytest.importorskip("numpy")

from mincemeat.decoding.coding import PLAIN, DataCoding  # noqa: E402
from mincemeat.errors import RefusedAsData  # noqa: E402

CODING = DataCoding([])
DAYS = ["2020-01-01", "2021-02-02", None]
FRAME = pd.DataFrame(
    {
        "ints": [1, 2, 3],
        "floats": [1.5, np.nan, 3],
        "texts": ["x", "y", None],
        "days": pd.to_datetime(DAYS),
        "kinds": pd.Categorical(["u", "v", "u"], ordered=True),
        "whole": pd.array([1, None, 3], dtype="Int64"),
        "maybe": pd.array([True, None, False], dtype="boolean"),
        "halves": pd.array([1.5, None, 2], dtype="Float32"),
        "strings": pd.array(["p", None, "q"], dtype="string"),
        "zoned": pd.to_datetime(DAYS).tz_localize("Europe/Berlin"),
        "months": pd.period_range("2020-01", periods=3, freq="M"),
        "spans": pd.to_timedelta([1, 2, 3], unit="s"),
        "things": pd.Series([[1], {"a": 1}, None], dtype=object),
    }
)
SAMED = FRAME["ints"].copy()
SAMED.attrs["unit"] = "m"


def check_same(found: Any, value: Any) -> None:
    assert type(found) is type(value)
    if isinstance(value, pd.DataFrame):
        pd.testing.assert_frame_equal(found, value)
    elif isinstance(value, pd.Series):
        pd.testing.assert_series_equal(found, value)
        assert found.attrs == value.attrs
    elif isinstance(value, pd.Index):
        pd.testing.assert_index_equal(found, value, exact=True)
        assert getattr(found, "freq", None) == getattr(value, "freq", None)
    elif isinstance(value, pd.Categorical):
        pd.testing.assert_extension_array_equal(found, value)
    elif value is pd.NaT or value is pd.NA:
        assert found is value
    else:
        assert found == value
        assert getattr(found, "unit", None) == getattr(value, "unit", None)


@pytest.mark.parametrize(
    "value",
    [
        FRAME,
        FRAME.set_index("ints"),
        FRAME.set_index(["ints", "texts"]),
        FRAME.iloc[::2],
        FRAME.iloc[:0],
        pd.DataFrame(),
        pd.DataFrame(index=[1, 2]),
        pd.DataFrame([[1, 2], [3, 4]], columns=["x", "x"]),
        pd.DataFrame({("a", "b"): [1], ("a", "c"): [2]}),
        FRAME.groupby("kinds", observed=True)[["ints"]].sum(),
        *(FRAME[name] for name in FRAME),
        SAMED,
        pd.Series(dtype=float),
        pd.Series([1, 2], index=pd.date_range("2020", "2021", 2), name=("a", 1)),
        pd.RangeIndex(2, 9, 3, name="r"),
        pd.Index(["a", "b"], name="q"),
        pd.Index([1, "a", None]),
        pd.date_range("2020-01-01", periods=3, freq="D"),
        pd.date_range("2020-01-01", periods=3, freq="h", tz="Europe/Berlin"),
        pd.date_range("2020-01-01", periods=3, freq="W-SUN"),
        pd.timedelta_range("1s", periods=3),
        pd.period_range("2020-01", periods=3, freq="Q-DEC"),
        pd.CategoricalIndex(["a", "b", "a"]),
        pd.MultiIndex.from_product([[1, 2], ["a", "b"]], names=["x", "y"]),
        pd.Timestamp("2020-01-01 12:00:00.123456789"),
        pd.Timestamp("2020-01-01", tz="Europe/Berlin"),
        pd.Timedelta("1h"),
        pd.Period("2020-01", freq="M"),
        pd.NaT,
        pd.NA,
        pd.Categorical(["a", None, "b"]),
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'name', '')}",
)
def test_what_pandas_has_comes_back(value: Any) -> None:
    data = CODING.dumps(value)
    check_same(CODING.loads(data), value)
    check_same(PLAIN.loads(data), value)


@pytest.mark.parametrize("value", [pd.interval_range(0, 3), pd.Series(pd.arrays.SparseArray([0, 1]))], ids=repr)
def test_what_is_no_data_is_refused(value: Any) -> None:
    with pytest.raises(RefusedAsData, match="pandas"):
        CODING.dumps(value)


def test_pandas_own_pickles_are_refused() -> None:
    with pytest.raises(RefusedAsData, match="pandas"):
        CODING.loads(pickle.dumps(FRAME, 5))
