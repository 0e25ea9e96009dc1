"""How a picture of one size meets a box: every fit, with and without enlarging, on sizes only."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from crawler.picture_settings import Fit
from crawler.process.geometry import Plan, Size, plan

FITS: tuple[Fit, ...] = get_args(Fit)
BOX = (200, 100)

sides = st.integers(1, 65_535) | st.integers(1, 600)
sizes = st.tuples(sides, sides)


def result(plan: Plan) -> Size:
    return plan.canvas or plan.size


@pytest.mark.parametrize(
    ("fit", "source", "smaller", "larger"),
    [
        ("inside", (1000, 1000), (100, 100), (100, 100)),
        ("inside", (1000, 200), (200, 40), (200, 40)),
        ("inside", (50, 50), (50, 50), (100, 100)),
        ("inside", (200, 100), (200, 100), (200, 100)),
        ("outside", (1000, 1000), (200, 200), (200, 200)),
        ("outside", (1000, 200), (500, 100), (500, 100)),
        ("outside", (50, 50), (50, 50), (200, 200)),
        ("outside", (400, 50), (400, 50), (800, 100)),
        ("cover", (1000, 1000), (200, 100), (200, 100)),
        ("cover", (1000, 200), (200, 100), (200, 100)),
        ("cover", (50, 50), (50, 50), (200, 100)),
        ("cover", (400, 50), (200, 50), (200, 100)),
        ("contain", (1000, 1000), (200, 100), (200, 100)),
        ("contain", (50, 50), (200, 100), (200, 100)),
        ("fill", (1000, 1000), (200, 100), (200, 100)),
        ("fill", (50, 50), (50, 50), (200, 100)),
        ("fill", (400, 50), (200, 50), (200, 100)),
        ("none", (1000, 1000), (1000, 1000), (1000, 1000)),
        ("none", (50, 50), (50, 50), (50, 50)),
    ],
)
def test_what_becomes_of_a_picture_in_a_box_of_200_by_100(fit: Fit, source: Size, smaller: Size, larger: Size) -> None:
    assert (result(plan(source, BOX, fit, False)), result(plan(source, BOX, fit, True))) == (smaller, larger)


def test_contain_keeps_the_whole_picture_and_pads_it() -> None:
    assert plan((1000, 1000), BOX, "contain", False) == Plan((100, 100), canvas=BOX)
    assert plan((10, 10), BOX, "contain", False) == Plan((10, 10), canvas=BOX)
    assert plan((400, 200), BOX, "contain", False) == Plan(BOX)


def test_cover_keeps_the_middle() -> None:
    assert plan((1000, 1000), BOX, "cover", False) == Plan(BOX, crop=(0, 250, 1000, 750))
    assert plan((800, 200), BOX, "cover", False) == Plan(BOX, crop=(200, 0, 600, 200))


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("upscale", [False, True])
def test_a_picture_of_the_right_size_is_left_alone(fit: Fit, upscale: bool) -> None:
    assert plan(BOX, BOX, fit, upscale) == Plan(BOX)


@given(sizes, sizes, st.sampled_from(FITS), st.booleans())
@example((65_535, 1), (1, 65_535), "inside", False)
@example((65_535, 1), (1, 1), "cover", False)
@example((1, 65_535), (65_535, 1), "cover", True)
def test_no_side_is_ever_zero(source: Size, box: Size, fit: Fit, upscale: bool) -> None:
    todo = plan(source, box, fit, upscale)
    assert min(todo.size) >= 1
    assert min(result(todo)) >= 1
    if todo.crop is not None:
        left, top, right, bottom = todo.crop
        assert 0 <= left < right <= source[0]
        assert 0 <= top < bottom <= source[1]
    if todo.canvas is not None:
        assert todo.size[0] <= todo.canvas[0]
        assert todo.size[1] <= todo.canvas[1]


@given(sizes, sizes, st.sampled_from(FITS))
def test_nothing_grows_unless_it_is_allowed(source: Size, box: Size, fit: Fit) -> None:
    todo = plan(source, box, fit, False)
    assert todo.size[0] <= source[0]
    assert todo.size[1] <= source[1]


@given(sizes, sizes, st.booleans())
def test_inside_fits_in_the_box_and_touches_it(source: Size, box: Size, upscale: bool) -> None:
    width, height = result(plan(source, box, "inside", upscale))
    assert width <= box[0]
    assert height <= box[1]
    if upscale or source[0] > box[0] or source[1] > box[1]:
        assert width == box[0] or height == box[1]
    else:
        assert (width, height) == source


@given(sizes, sizes, st.booleans())
def test_outside_covers_the_box_and_touches_it(source: Size, box: Size, upscale: bool) -> None:
    width, height = result(plan(source, box, "outside", upscale))
    if upscale or (source[0] >= box[0] and source[1] >= box[1]):
        assert width >= box[0]
        assert height >= box[1]
        assert width == box[0] or height == box[1]
    else:
        assert (width, height) == source


@given(sizes, sizes)
def test_cover_is_the_box_or_the_source_where_that_is_smaller(source: Size, box: Size) -> None:
    assert result(plan(source, box, "cover", True)) == box
    assert result(plan(source, box, "cover", False)) == (min(box[0], source[0]), min(box[1], source[1]))


@given(sizes, sizes, st.booleans())
def test_contain_is_the_box(source: Size, box: Size, upscale: bool) -> None:
    assert result(plan(source, box, "contain", upscale)) == box


@given(sizes, sizes)
def test_fill_is_the_box_or_the_source_where_that_is_smaller(source: Size, box: Size) -> None:
    assert result(plan(source, box, "fill", True)) == box
    assert result(plan(source, box, "fill", False)) == (min(box[0], source[0]), min(box[1], source[1]))


@given(sizes, sizes, st.booleans())
def test_none_keeps_the_size(source: Size, box: Size, upscale: bool) -> None:
    assert plan(source, box, "none", upscale) == Plan(source)


@given(sizes, sizes, st.sampled_from(("inside", "outside", "contain", "cover")), st.booleans())
def test_nothing_is_stretched(source: Size, box: Size, fit: Fit, upscale: bool) -> None:
    """Both sides change by the same factor, to within the pixel that rounding takes."""
    todo = plan(source, box, fit, upscale)
    left, top, right, bottom = todo.crop or (0, 0, *source)
    wide, high = right - left, bottom - top
    assume(min(todo.size) > 1)
    factor = todo.size[0] / wide
    assert abs(high * factor - todo.size[1]) <= 0.51 * max(1, high / wide, wide / high)


@given(sizes, sizes, st.sampled_from(FITS), st.booleans())
def test_a_picture_on_its_side_becomes_the_same_on_its_side(source: Size, box: Size, fit: Fit, upscale: bool) -> None:
    upright, lying = plan(source, box, fit, upscale), plan(source[::-1], box[::-1], fit, upscale)
    assert result(lying) == result(upright)[::-1]
    assert lying.size == upright.size[::-1]
