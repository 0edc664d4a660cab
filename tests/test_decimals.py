from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from hypothesis import example, given
from hypothesis import strategies as st

from seriesport.images.decimals import decimal_string

FINITE = st.floats(-1e308, 1e308)


@given(FINITE)
@example(-5e-324)
@example(0.1)
def test_a_decimal_string_has_16_characters_and_the_least_error(value: float) -> None:
    written = decimal_string(value)
    assert len(written) <= 16
    assert set(written) <= set("0123456789+-.E")
    assert abs(float(written) - value) <= abs(value) * 1e-9
    if len(repr(value)) <= 16:
        assert float(written) == value


@given(FINITE)
def test_a_decimal_string_bounds_a_value_where_it_is_asked_to(value: float) -> None:
    assert float(decimal_string(value, ROUND_FLOOR)) <= value
    assert float(decimal_string(value, ROUND_CEILING)) >= value


def test_decimal_strings_are_plain_where_they_can_be() -> None:
    cases = {1.0: "1", -0.0: "0", 0.5: "0.5", 100000.0: "100000", -1e-5: "-0.00001"}
    assert {v: decimal_string(v) for v in cases} == cases
    third = decimal_string(1 / 3)
    assert Decimal(third) == Decimal("0.33333333333333")
