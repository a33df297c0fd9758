"""Raw result files: written and read back, other trackers' layouts, and files that must not be mistaken for results."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.results import raw as results
from lib.results.matching import find_results
from lib.results.raw import find_companion, read_boxes, read_numbers, write_result


def find_result(folder, name, names=()):
    return find_results(folder, [name, *names])[name]


def write(folder, name, frames=3):
    write_result(folder, name, np.ones((frames, 4)), np.full(frames, 0.5), np.full(frames, 0.9))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), frames=st.integers(1, 40))
def test_written_results_are_read_back(tmp_path_factory, seed, frames):
    folder, rng = tmp_path_factory.mktemp("results"), np.random.default_rng(seed)
    boxes, times, scores = rng.uniform(-50, 3000, (frames, 4)), rng.uniform(1e-4, 2, frames), rng.random(frames)
    write_result(folder, "a b`c", boxes, times, scores)
    path = find_result(folder, "a b`c")
    np.testing.assert_allclose(read_boxes(path), boxes, rtol=0, atol=5.0001e-5)
    np.testing.assert_allclose(read_numbers(find_companion(path, "_time")), times, rtol=0, atol=5.0001e-7)
    np.testing.assert_allclose(read_numbers(find_companion(path, "_score")), scores, rtol=0, atol=5.0001e-7)


def test_written_rows_are_tabs_and_four_decimals(tmp_path):
    write_result(tmp_path, "car", np.array([[1, 2.00004, 3.5, 40]]), np.array([0.0123456789]), np.array([1.0]))
    assert (tmp_path / "car.txt").read_text() == "1.0000\t2.0000\t3.5000\t40.0000\n"
    assert (tmp_path / "car_time.txt").read_text() == "0.012346\n"


def test_boxes_are_written_last_and_no_incomplete_file_remains(tmp_path, monkeypatch):
    def fail_on_boxes(path, text, write_text=results.write_text):
        if path.name == "car.txt":
            raise OSError("disk full")
        write_text(path, text)

    monkeypatch.setattr(results, "write_text", fail_on_boxes)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path, "car")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["car_score.txt", "car_time.txt"]
    assert find_result(tmp_path, "car") is None


def test_lengths_that_differ_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"car: expected .* got \(3, 4\), \(2,\), \(3,\)"):
        write_result(tmp_path, "car", np.ones((3, 4)), np.ones(2), np.ones(3))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    ["1,2,3,4\n5,6,7,8", "1\t2\t3\t4\n5  6   7 8\n", "1e0, 2,3 ,4\r\n5.0\t6,7 8\r\n\n", "\ufeff1 2 3 4\n5 6 7 8\n"],
)
def test_delimiters_may_be_mixed(tmp_path, text):
    (tmp_path / "car.txt").write_text(text, encoding="utf-8", newline="")
    assert read_boxes(tmp_path / "car.txt").tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_corners_become_the_box_around_them(tmp_path):
    (tmp_path / "car.txt").write_text("10 20 40 20 40 60 10 60\n12 18 40 20 38 62 10 60\n")
    assert read_boxes(tmp_path / "car.txt").tolist() == [[10, 20, 30, 40], [10, 18, 30, 44]]


def test_a_broken_row_names_file_and_line(tmp_path):
    (tmp_path / "car.txt").write_text("1,2,3,4\n1,2,x,4\n")
    with pytest.raises(ValueError, match=r"car\.txt, line 2: 'x' is not a number"):
        read_boxes(tmp_path / "car.txt")
    (tmp_path / "car_time.txt").write_text("0.1\n\nfast\n")
    with pytest.raises(ValueError, match=r"car_time\.txt, line 3"):
        read_numbers(tmp_path / "car_time.txt")


def test_the_vot_layout_is_read_with_the_codes_of_the_toolkit(tmp_path):
    folder = tmp_path / "car"
    folder.mkdir()
    (folder / "car_001.txt").write_text("1\n5,6,7,8\n0\n")
    (folder / "car_001_confidence.value").write_text("\n0.5\nnan\n")
    (folder / "car_001_time.value").write_text("0.2\n0.1\n0.1\n")
    path = find_result(tmp_path, "car")
    assert path == folder / "car_001.txt"
    np.testing.assert_array_equal(read_boxes(path), [[np.nan] * 4, [5, 6, 7, 8], [np.nan] * 4])
    np.testing.assert_array_equal(read_numbers(find_companion(path, "_score")), [np.nan, 0.5, np.nan])
    np.testing.assert_array_equal(read_numbers(find_companion(path, "_time")), [0.2, 0.1, 0.1])


def test_published_vot_results_are_read(shared):
    folder = shared / "reference/results/DepthTrack_vot_layout/DeT_DiMP50_Max/rgbd-unsupervised"
    for name in ("adapter01_indoor", "backpack_indoor", "bag01_indoor"):
        path = find_result(folder, name)
        assert len(read_boxes(path)) == len(read_numbers(find_companion(path, "_score"))) > 100


def test_prefixed_results_are_found_unless_they_belong_to_another_sequence(tmp_path):
    names = ["man", "old_man", "car"]
    for name in ("OTR_old_man", "OTR_car"):
        write(tmp_path, name)
    assert find_result(tmp_path, "man", names) is None
    assert find_result(tmp_path, "old_man", names).name == "OTR_old_man.txt"
    write(tmp_path, "OTR_man")
    assert find_result(tmp_path, "man", names).name == "OTR_man.txt"
    write(tmp_path, "DAL_man")
    with pytest.raises(ValueError, match=r"DAL_man\.txt, OTR_man\.txt match sequence 'man'"):
        find_result(tmp_path, "man", names)
    write(tmp_path, "man")
    assert find_result(tmp_path, "man", names).name == "man.txt"


def test_an_unprefixed_result_of_another_sequence_is_not_taken(tmp_path):
    write(tmp_path, "old_man")
    assert find_result(tmp_path, "man", ["man", "old_man"]) is None


def test_times_and_scores_are_not_read_as_results(tmp_path):
    write(tmp_path, "x")
    for name in ("x_time", "x_score", "time", "score"):
        assert find_result(tmp_path, name) is None


def test_a_sequence_name_may_end_like_that_of_a_time_file(tmp_path):
    write(tmp_path, "x_time")
    assert find_result(tmp_path, "x_time").name == "x_time.txt"
    assert find_companion(find_result(tmp_path, "x_time"), "_time").name == "x_time_time.txt"
    with pytest.raises(ValueError, match="x_time.txt contains the boxes of sequence 'x_time'"):
        write(tmp_path, "x")
    (tmp_path / "x.txt").write_text("1 2 3 4\n")
    assert find_companion(tmp_path / "x.txt", "_time") is None, "these are boxes of x_time, not times of x"
