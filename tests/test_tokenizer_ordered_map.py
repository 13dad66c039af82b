import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pictogram.tokenizer.ordered_map import ordered_map


def test_results_keep_their_order_and_few_items_are_under_way():
    taken = []

    def items():
        for item in range(20):
            taken.append(item)
            yield item

    def slow(item: int) -> int:
        time.sleep(0.002 * (item % 3))
        return item

    with ThreadPoolExecutor(3) as threads:
        for expected, result in enumerate(ordered_map(slow, items(), threads, ahead=4)):
            assert result == expected
            assert len(taken) <= result + 5


def test_work_is_done_in_other_threads_unless_there_are_none():
    def thread(_: int) -> int:
        return threading.get_ident()

    with ThreadPoolExecutor(1) as threads:
        assert threading.get_ident() not in set(ordered_map(thread, range(3), threads, ahead=2))
    assert set(ordered_map(thread, range(3), None, ahead=2)) == {threading.get_ident()}


def test_an_error_arrives_and_ends_the_work():
    done = []

    def fail(item: int) -> int:
        if item == 1:
            raise ValueError("one")
        done.append(item)
        return item

    with ThreadPoolExecutor(1) as threads:
        results = ordered_map(fail, range(100), threads, ahead=2)
        assert next(results) == 0
        with pytest.raises(ValueError, match="one"):
            next(results)
    assert len(done) < 5
