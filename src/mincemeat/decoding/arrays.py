"""NumPy's arrays, numbers and dtypes as data, whichever version of NumPy wrote or reads them.

Decides: their form. NumPy's own pickles cannot be read from strangers: ``dtype.__setstate__`` takes offsets, sizes and
flags as they are told, so that bytes pass for pointers. Here a dtype is text that NumPy's constructor reads, of a
pattern that is checked; an array is a dtype, a shape and so many bytes, and an array of objects a list.

Not data: dtypes that hold objects beside other fields, NumPy's variable-width strings, and subclasses of ndarray.
"""

from __future__ import annotations

import functools
import re
from math import prod
from typing import TYPE_CHECKING, Any, Final

from mincemeat.errors import RefusedAsData

if TYPE_CHECKING:
    import numpy as np

    from mincemeat.decoding.forms import Reducer

# What dtype.str gives: order, kind, bytes of an item, unit of a time. Nothing with a comma in it, which is a language.
_DTYPE: Final = re.compile(r"[<>|=]?[biufcSUVMm?][0-9]{0,9}(\[[0-9]{0,9}[a-zA-Zμ]{1,7}\])?")
_DIMENSIONS_MAX: Final = 64
_FIELDS_DEPTH_MAX: Final = 16


# -- read ------------------------------------------------------------------------------------------------


def array_of(descr: Any, shape: tuple[int, ...], order: str, data: bytearray) -> Any:
    """An array over ``data``, which is its own."""
    import numpy as np

    dtype = dtype_of(descr)
    _check_shape(shape)
    _expect(order in ("C", "F") and type(data) is bytearray, "an array of another form")
    _expect(len(data) == prod(shape) * dtype.itemsize, "an array with another number of bytes than its shape has")
    return np.ndarray(shape, dtype, data, order="F" if order == "F" else "C")


def objects_of(shape: tuple[int, ...], elements: list[Any]) -> Any:
    """An array of objects."""
    import numpy as np

    _check_shape(shape)
    _expect(type(elements) is list and len(elements) == prod(shape), "an array of objects with others than it has")
    flat = np.empty(len(elements), dtype=object)
    for place, element in enumerate(elements):  # a slice would take lists apart
        flat[place] = element
    return flat.reshape(shape)


def scalar_of(descr: Any, data: bytes | str) -> Any:
    """One number, date or text of NumPy's; text with the kind alone, for it is as long as it is."""
    import numpy as np

    if descr in ("U", "S"):
        _expect(type(data) is (str if descr == "U" else bytes), "a text of NumPy's that is none")
        return np.str_(data) if descr == "U" else np.bytes_(data)
    dtype = dtype_of(descr)
    if not isinstance(data, bytes) or len(data) != dtype.itemsize:
        raise RefusedAsData("a scalar of another size than its type has")
    return np.ndarray((), dtype, data)[()]


def dtype_of(descr: Any) -> Any:
    """The dtype with that description, as ``numpy.lib.format`` has it; of one that holds objects only ``|O``."""
    import numpy as np

    if type(descr) is str:
        return _dtype_of_text(descr)
    _check_descr(descr, 0)
    found = np.lib.format.descr_to_dtype(descr)
    _expect(not found.hasobject, "a dtype that holds objects")
    return found


@functools.lru_cache(maxsize=256)
def _dtype_of_text(descr: str) -> Any:
    import numpy as np

    if descr == "|O":
        return np.dtype(object)
    _check_descr(descr, 0)
    return np.dtype(descr)


def _check_descr(descr: Any, depth: int) -> None:
    """A text, (descr, shape), or a list of (name, descr) and (name, descr, shape); a name may be (title, name)."""
    _expect(depth < _FIELDS_DEPTH_MAX, "a dtype within a dtype, too deep")
    if type(descr) is str:
        _expect(_DTYPE.fullmatch(descr) is not None, f"{descr[:50]!r} is no dtype of data")
    elif type(descr) is tuple:
        _expect(len(descr) == 2, "a dtype of another form")
        _check_descr(descr[0], depth + 1)
        _check_shape(descr[1])
    else:
        _expect(type(descr) is list and all(type(field) is tuple for field in descr), "a dtype of another form")
        for field in descr:
            _expect(len(field) in (2, 3), "a field of another form")
            name = field[0]
            names = name if type(name) is tuple and len(name) == 2 else (name,)
            _expect(all(type(each) is str for each in names), "a field whose name is no text")
            _check_descr(field[1], depth + 1)
            if len(field) == 3:
                _check_shape(field[2])


def _check_shape(shape: Any) -> None:
    _expect(type(shape) is tuple and len(shape) <= _DIMENSIONS_MAX, "a shape of another form")
    _expect(all(type(length) is int and 0 <= length < 2**63 for length in shape), "a shape that cannot be")


def _expect(is_so: bool, what: str) -> None:
    if not is_so:
        raise RefusedAsData(what)


# -- written ---------------------------------------------------------------------------------------------


def reducers(numpy: Any) -> dict[type, Reducer]:
    """For exactly these types, not for what derives from them."""
    dtypes = [numpy.dtype(code) for code in "?bhilqpBHILQPefdgFDGSUVOMm"]
    return {
        numpy.ndarray: _reduce_array,
        **{type(dtype): _reduce_dtype for dtype in dtypes},
        **{dtype.type: _reduce_scalar for dtype in dtypes if not dtype.hasobject},
        numpy.str_: lambda text: (scalar_of, ("U", str(text))),
        numpy.bytes_: lambda text: (scalar_of, ("S", bytes(text))),
    }


def _reduce_array(array: np.ndarray[Any, Any]) -> tuple[Any, ...]:
    if array.dtype.hasobject and array.dtype.kind == "O":
        return objects_of, (array.shape, array.ravel().tolist())
    is_fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    data = array.tobytes("F" if is_fortran else "C")
    return array_of, (_descr_of(array.dtype), array.shape, "F" if is_fortran else "C", bytearray(data))


def _reduce_scalar(scalar: np.generic[Any]) -> tuple[Any, ...]:
    return scalar_of, (_descr_of(scalar.dtype), scalar.tobytes())


def _reduce_dtype(dtype: np.dtype[Any]) -> tuple[Any, ...]:
    return dtype_of, ("|O" if dtype.kind == "O" else _descr_of(dtype),)


def _descr_of(dtype: np.dtype[Any]) -> Any:
    import numpy as np

    if dtype.hasobject or dtype.kind not in "biufcSUVMm":
        raise RefusedAsData(f"the dtype {dtype} of a numpy array is no data")
    if dtype.kind != "V":
        return dtype.str
    return np.lib.format.dtype_to_descr(dtype)
