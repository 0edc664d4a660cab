"""The operators of a Series, typed for those who write `si < 5` and go on with the result."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Self, TypeAlias, overload

    import numpy as np

    from seriesport.images.image import Array

    Number: TypeAlias = "complex | np.number[Any] | np.bool_"

    class Operators:
        """NumPy's operators. With a number, the result has the geometry and header of the image.

        With another image or an array it has them where the shapes and places fit; else it is a
        plain array.
        """

        @overload
        def __add__(self, other: Number, /) -> Self: ...
        @overload
        def __add__(self, other: Any, /) -> Self | Array: ...
        def __add__(self, other: Any, /) -> Any: ...

        __sub__ = __mul__ = __truediv__ = __floordiv__ = __mod__ = __pow__ = __add__
        __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rfloordiv__ = __rmod__ = __add__
        __rpow__ = __lshift__ = __rshift__ = __and__ = __or__ = __xor__ = __add__
        __rlshift__ = __rrshift__ = __rand__ = __ror__ = __rxor__ = __add__
        __lt__ = __le__ = __gt__ = __ge__ = __add__

        @overload  # element by element, not as objects compare
        def __eq__(self, other: Number, /) -> Self: ...  # pyright: ignore[reportOverlappingOverload, reportIncompatibleMethodOverride]
        @overload
        def __eq__(self, other: Any, /) -> Self | Array: ...
        def __eq__(self, other: Any, /) -> Any: ...

        @overload
        def __ne__(self, other: Number, /) -> Self: ...  # pyright: ignore[reportOverlappingOverload, reportIncompatibleMethodOverride]
        @overload
        def __ne__(self, other: Any, /) -> Self | Array: ...
        def __ne__(self, other: Any, /) -> Any: ...

        __hash__ = None  # pyright: ignore[reportAssignmentType] - as it compares

        def __iadd__(self, other: Any, /) -> Self: ...

        __isub__ = __imul__ = __itruediv__ = __ifloordiv__ = __imod__ = __ipow__ = __iadd__
        __ilshift__ = __irshift__ = __iand__ = __ior__ = __ixor__ = __iadd__

        def __neg__(self) -> Self: ...

        __pos__ = __abs__ = __invert__ = __neg__

        def __matmul__(self, other: Any, /) -> Array: ...

        __rmatmul__ = __matmul__

        def __divmod__(self, other: Any, /) -> tuple[Any, Any]: ...

        __rdivmod__ = __divmod__

else:
    from numpy.lib.mixins import NDArrayOperatorsMixin as Operators

__all__ = ["Operators"]
