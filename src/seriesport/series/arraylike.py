"""The array side of a Series: NumPy's protocols, operators, indexing and methods.

NumPy's operators mixin and not a subclass of ndarray: every result passes through one place that
knows whether geometry holds for it, while a subclass hands its geometry on to every view and
reshape unasked.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from seriesport.series.arithmetic import (
    ELEMENTWISE,
    REDUCING,
    axis_of,
    flips,
    found,
    is_image_like,
    one_place,
    summed_axes,
    unwrapped,
)
from seriesport.series.indexing import select, without
from seriesport.series.operators import Operators

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import DTypeLike

    from seriesport.images.image import Array, Image
    from seriesport.images.template import Header
    from seriesport.series.indexing import Selection


def _reducing(function: Any) -> Callable[..., Any]:
    """A method of arrays that goes along an axis, given by number or name."""

    def method(self: ArrayLike, axis: Any = None, **options: Any) -> Any:
        return function(self, axis=self.axis_numbers(axis), **options)

    method.__name__ = function.__name__
    method.__doc__ = f"As `numpy.{function.__name__}`; an axis may be given by its name."
    return method


class ArrayLike(Operators):
    """What makes a Series an array. What keeps the geometry is told by `indexing` (for
    `series[key]`) and `arithmetic` (for everything else)."""

    image: Image
    header: Header
    __hash__ = None  # pyright: ignore[reportAssignmentType] - it compares element by element
    __array_priority__ = 10.0

    def remade(self, image: Image, header: Header) -> Self:
        """Another Series of the same origin."""
        raise NotImplementedError

    # NumPy's protocols

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:  # noqa: FBT001 - NumPy's
        return np.array(self.image.array, dtype=dtype, copy=cast("bool", copy))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = cast("tuple[Any, ...]", kwargs.get("out") or ())
        plain = unwrapped(kwargs, _array)
        result = getattr(ufunc, method)(*unwrapped(inputs, _array), **plain)
        if method == "at" or result is NotImplemented:
            return result
        if out:
            return out[0] if len(out) == 1 else out
        if method == "reduce":
            axis = kwargs.get("axis", 0)
            return result if kwargs.get("keepdims") else self.summed(result, axis)
        if ufunc.signature is not None or method not in ("__call__", "accumulate"):
            return result
        operands = found(inputs, ArrayLike)
        if isinstance(result, tuple):
            return tuple(_fitted(one, operands) for one in cast("tuple[Any, ...]", result))
        return _fitted(result, operands)

    def __array_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        if not all(issubclass(t, (ArrayLike, np.ndarray)) for t in types):
            return NotImplemented
        turned = flips(func, args, kwargs)
        if turned is not None and isinstance(args[0], ArrayLike):
            return args[0].flipped(turned)
        result = func(*unwrapped(tuple(args), _array), **unwrapped(dict(kwargs), _array))
        operands = found((args, kwargs), ArrayLike)
        if func in ELEMENTWISE:
            return _fitted(result, operands)
        if func in REDUCING and args and isinstance(args[0], ArrayLike):
            return args[0].summed(result, axis_of(func, args, kwargs))
        return result

    def summed(self, result: Any, axis: Any) -> Any:
        """The result of a reduction as an image, where it went along tag axes alone."""
        names = summed_axes(self.image, axis) or ()
        lengths = zip(self.shape, self.image.axes, strict=True)
        expected = tuple(length for length, name in lengths if name not in names)
        if not names or np.shape(result) != expected:
            return result
        return self._chosen(without(self.image, names, result))

    def flipped(self, axes: Sequence[int]) -> Any:
        """The same voxels with axes turned round, each where it was."""
        turned = {axis % self.ndim for axis in axes}
        key = tuple(slice(None, None, -1 if i in turned else 1) for i in range(self.ndim))
        return self[key]

    def _chosen(self, selection: Selection) -> Self:
        header = self.header.select(selection.slices)
        return self.remade(selection.image, header)

    # Indexing

    def __getitem__(self, key: Any) -> Any:
        key = unwrapped(key, _array)
        selection = select(self.image, key)
        return self.image.array[key] if selection is None else self._chosen(selection)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.image.array[unwrapped(key, _array)] = _array(value)

    def __len__(self) -> int:
        return len(self.image.array)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, value: Any) -> bool:
        return value in self.image.array

    def __bool__(self) -> bool:
        return bool(self.image.array)

    # What arrays have

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes that `axes` names."""
        return self.image.array.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.image.array.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self.image.array.dtype

    @property
    def size(self) -> int:
        """Number of values."""
        return self.image.array.size

    @property
    def nbytes(self) -> int:
        """Memory of the values."""
        return self.image.array.nbytes

    @property
    def T(self) -> Array:
        """The transposed array, a plain one."""
        return self.image.array.T

    def astype(self, dtype: DTypeLike, **options: Any) -> Self:
        """The same image with values of another type."""
        array = self.image.array.astype(dtype, **options)
        return self.remade(replace(self.image, array=array), self.header)

    def copy(self) -> Self:
        """The same image with values of its own."""
        return self.remade(replace(self.image, array=self.image.array.copy()), self.header)

    def clip(self, low: Any = None, high: Any = None) -> Any:
        """As `numpy.clip`."""
        return cast("Any", np.clip)(self, low, high)

    def round(self, decimals: int = 0) -> Any:
        """As `numpy.round`."""
        return cast("Any", np.round)(self, decimals)

    def reshape(self, *shape: Any) -> Array:
        """A plain array of another shape."""
        return self.image.array.reshape(*shape)

    def transpose(self, *axes: Any) -> Array:
        """A plain array with its axes in another order."""
        return self.image.array.transpose(*axes)

    def ravel(self) -> Array:
        """A plain array of one axis."""
        return self.image.array.ravel()

    def flatten(self) -> Array:
        """A plain array of one axis, a copy."""
        return self.image.array.flatten()

    def tolist(self) -> Any:
        """Nested lists."""
        return self.image.array.tolist()

    def item(self, *index: int) -> Any:
        """One value."""
        return self.image.array.item(*index)

    all = _reducing(np.all)
    any = _reducing(np.any)
    argmax = _reducing(np.argmax)
    argmin = _reducing(np.argmin)
    max = _reducing(np.max)
    mean = _reducing(np.mean)
    min = _reducing(np.min)
    prod = _reducing(np.prod)
    std = _reducing(np.std)
    sum = _reducing(np.sum)
    var = _reducing(np.var)

    def axis_numbers(self, axis: Any) -> Any:
        """An axis, or several, given by name as numbers."""
        if isinstance(axis, tuple):
            return tuple(self.axis_numbers(one) for one in cast("tuple[Any, ...]", axis))
        if not isinstance(axis, str):
            return axis
        if axis not in self.image.axes:
            raise ValueError(f"no axis is called {axis!r} (there are {', '.join(self.image.axes)})")
        return self.image.axes.index(axis)


def _array(value: Any) -> Any:
    return value.image.array if isinstance(value, ArrayLike) else value


def _fitted(result: Any, operands: Sequence[ArrayLike]) -> Any:
    """A result as an image, where it has the shape of an operand and all lie in one place."""
    like = next((o for o in operands if is_image_like(result, o.image)), None)
    if like is None or not one_place([o.image for o in operands], like.image):
        return result
    return like.remade(replace(like.image, array=result), like.header)
