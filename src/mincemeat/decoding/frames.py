"""pandas' frames, series, indexes and moments as data, whichever version of pandas wrote or reads them.

Decides: their form. pandas' own pickles give state to compiled classes that believe it, so here everything is made
again by public constructors, of NumPy's arrays (arrays.py) and plain data, which they check.

What is lost: how columns lie in memory together. Not data: intervals, sparse and Arrow-backed columns, and subclasses.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from mincemeat.errors import RefusedAsData

if TYPE_CHECKING:
    from mincemeat.decoding.forms import Reducer

_FREQUENCY: Final = re.compile(r"-?[0-9]{0,9}[A-Za-z]{1,5}(-[A-Za-z0-9]{1,5}){0,2}")
# Neither a path nor "dateutil/...", which would be one.
_ZONE: Final = re.compile(r"(?!dateutil)[A-Za-z0-9_+\-:]{1,40}(/[A-Za-z0-9_+\-]{1,40}){0,3}")
_MASKED: Final = {"i": "IntegerArray", "u": "IntegerArray", "f": "FloatingArray", "b": "BooleanArray"}


# -- read ------------------------------------------------------------------------------------------------


def frame_of(columns: Any, index: Any, arrays: list[Any], attrs: dict[Any, Any]) -> Any:
    """A frame of as many arrays as it has columns, each as long as its index."""
    import pandas as pd

    _expect(isinstance(columns, pd.Index) and isinstance(index, pd.Index), "a frame without an index")
    _expect(type(arrays) is list and type(attrs) is dict and len(arrays) == len(columns), "a frame of other columns")
    frame = pd.DataFrame(dict(enumerate(map(_array, arrays))), index=index)
    frame.columns = columns
    frame.attrs = attrs
    return frame


def series_of(array: Any, index: Any, name: Any, attrs: dict[Any, Any]) -> Any:
    """A series as long as its index."""
    import pandas as pd

    _expect(isinstance(index, pd.Index) and type(attrs) is dict, "a series without an index")
    array = _array(array)
    series = pd.Series(array, index=index, name=name, dtype=array.dtype)
    series.attrs = attrs
    return series


def index_of(array: Any, name: Any, freq: str | None) -> Any:
    """An index of any kind but the two below: its array says which."""
    import pandas as pd

    array = _array(array)
    if freq is None:
        return pd.Index(array, name=name, dtype=array.dtype)
    _expect(type(freq) is str and _FREQUENCY.fullmatch(freq) is not None, "an index of another frequency")
    kind = pd.TimedeltaIndex if array.dtype.kind == "m" else pd.DatetimeIndex
    return kind(array, name=name, freq=freq)


def range_index_of(start: int, stop: int, step: int, name: Any) -> Any:
    """An index of whole numbers at equal distances."""
    import pandas as pd

    _expect(all(type(number) is int for number in (start, stop, step)), "a range of what are no numbers")
    return pd.RangeIndex(start, stop, step, name=name)


def multi_index_of(levels: list[Any], codes: list[Any], names: list[Any]) -> Any:
    """An index of several levels."""
    import pandas as pd

    _expect(type(levels) is list and type(codes) is list and type(names) is list, "an index without levels")
    _expect(all(isinstance(level, pd.Index) for level in levels), "an index whose levels are none")
    return pd.MultiIndex(levels=levels, codes=list(map(_array, codes)), names=names, verify_integrity=True)


def categorical_of(codes: Any, categories: Any, ordered: bool) -> Any:
    """Values out of a few categories."""
    import pandas as pd

    _expect(isinstance(categories, pd.Index) and type(ordered) is bool, "a categorical without categories")
    return pd.Categorical.from_codes(_array(codes), categories=categories, ordered=ordered)


def column_of(kind: str, *parts: Any) -> Any:
    """What pandas has an array of its own for: ``masked``, ``text``, ``zoned``, ``periods``."""
    import numpy as np
    import pandas as pd

    match kind, parts:
        case "masked", (np.ndarray() as values, np.ndarray() as mask) if values.dtype.kind in _MASKED:
            return getattr(pd.arrays, _MASKED[values.dtype.kind])(values, mask)
        case "text", ("str" | "string" as dtype, list() as texts):
            _expect(all(text is None or type(text) is str for text in texts), "a column of text that is none")
            return pd.array(texts, dtype=dtype)
        case "zoned", (np.ndarray() as values, str() as zone) if values.dtype.kind == "M":
            return pd.DatetimeIndex(values).tz_localize("UTC").tz_convert(_zone(zone)).array
        case "periods", (np.ndarray() as values, str() as freq) if values.dtype == np.int64:
            _expect(_FREQUENCY.fullmatch(freq) is not None, "periods of another frequency")
            return pd.arrays.PeriodArray(values, dtype=pd.PeriodDtype(freq))
    raise RefusedAsData("a column of another form")


def moment_of(moment: Any, zone: str | None) -> Any:
    """A Timestamp or Timedelta."""
    import numpy as np
    import pandas as pd

    if isinstance(moment, np.timedelta64):
        return pd.Timedelta(moment)
    _expect(isinstance(moment, np.datetime64), "a moment of another form")
    found = pd.Timestamp(moment)
    return found if zone is None else found.tz_localize("UTC").tz_convert(_zone(zone))


def span_of(ordinal: int, freq: str) -> Any:
    """A Period."""
    import pandas as pd

    _expect(type(ordinal) is int and type(freq) is str and _FREQUENCY.fullmatch(freq) is not None, "another period")
    return pd.Period(ordinal=ordinal, freq=freq)


def missing(name: str) -> Any:
    """NaT or NA."""
    import pandas as pd

    _expect(name in ("NaT", "NA"), "what is missing in another way")
    return pd.NaT if name == "NaT" else pd.NA


def _array(array: Any) -> Any:
    import numpy as np
    import pandas as pd

    is_one = isinstance(array, np.ndarray) and array.ndim == 1 and array.dtype.names is None
    _expect(is_one or isinstance(array, pd.api.extensions.ExtensionArray), "a column of what is no array")
    return array


def _zone(name: str) -> str:
    _expect(type(name) is str and _ZONE.fullmatch(name) is not None, "a time zone with another name")
    return name


def _expect(is_so: bool, what: str) -> None:
    if not is_so:
        raise RefusedAsData(what)


# -- written ---------------------------------------------------------------------------------------------


def reducers(pandas: Any) -> dict[type, Reducer]:
    """For exactly these types, not for what derives from them."""
    pd = pandas
    return {
        pd.DataFrame: _reduce_frame,
        pd.Series: lambda series: (series_of, (_written(series.array), series.index, series.name, dict(series.attrs))),
        pd.Index: _reduce_index,
        pd.CategoricalIndex: _reduce_index,
        pd.PeriodIndex: _reduce_index,
        pd.DatetimeIndex: _reduce_index,
        pd.TimedeltaIndex: _reduce_index,
        pd.RangeIndex: lambda index: (range_index_of, (index.start, index.stop, index.step, index.name)),
        pd.MultiIndex: _reduce_multi_index,
        pd.Categorical: lambda values: (categorical_of, (values.codes, values.categories, bool(values.ordered))),
        pd.Timestamp: lambda moment: (
            moment_of,
            (moment.to_datetime64(), None if moment.tz is None else str(moment.tz)),
        ),
        pd.Timedelta: lambda span: (moment_of, (span.to_timedelta64(), None)),
        pd.Period: lambda period: (span_of, (period.ordinal, period.freqstr)),
        type(pd.NaT): lambda _: (missing, ("NaT",)),
        type(pd.NA): lambda _: (missing, ("NA",)),
    }


class _Written:
    """An array of pandas' own, as it is pickled; plain ones are NumPy's."""

    def __init__(self, kind: str, *parts: Any) -> None:
        self._parts = kind, *parts

    def __reduce__(self) -> tuple[Any, ...]:
        return column_of, self._parts


def _written(array: Any) -> Any:
    import numpy as np
    import pandas as pd

    dtype = array.dtype
    if isinstance(array, np.ndarray | pd.Categorical):
        return array
    if isinstance(dtype, pd.StringDtype):
        return _Written("text", str(dtype), [None if text is pd.NA or text != text else text for text in array])
    if isinstance(dtype, np.dtype) or isinstance(array, pd.arrays.NumpyExtensionArray):
        return np.asarray(array)
    if isinstance(dtype, pd.DatetimeTZDtype):
        return _Written("zoned", np.asarray(array.tz_convert("UTC").tz_localize(None)), str(dtype.tz))
    if isinstance(dtype, pd.PeriodDtype):
        return _Written("periods", array.asi8, array.freqstr)
    if isinstance(array, pd.arrays.IntegerArray | pd.arrays.FloatingArray | pd.arrays.BooleanArray):
        mask = np.asarray(array.isna())
        return _Written("masked", array.to_numpy(dtype=dtype.numpy_dtype, na_value=0), mask)
    raise RefusedAsData(f"a column of pandas' dtype {dtype} is no data")


def _reduce_frame(frame: Any) -> tuple[Any, ...]:
    arrays = [_written(frame.iloc[:, place].array) for place in range(frame.shape[1])]
    return frame_of, (frame.columns, frame.index, arrays, dict(frame.attrs))


def _reduce_index(index: Any) -> tuple[Any, ...]:
    freq = index.freqstr if index.dtype.kind in "mM" and index.freq is not None else None
    return index_of, (_written(index.array), index.name, freq)


def _reduce_multi_index(index: Any) -> tuple[Any, ...]:
    import numpy as np

    return multi_index_of, (list(index.levels), list(map(np.asarray, index.codes)), list(index.names))
