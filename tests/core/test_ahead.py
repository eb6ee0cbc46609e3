"""Loading beside the guest: in order, in a thread, and never half done where the process forks."""

from threading import Event, current_thread, main_thread

from gossamer.core import ahead


def test_loads_are_done_one_after_the_other_in_a_thread() -> None:
    go, done = Event(), list[tuple[str, bool]]()

    def first() -> None:
        go.wait()
        done.append(("first", current_thread() is main_thread()))

    one = ahead.load(first)
    other = ahead.load(lambda: done.append(("other", current_thread() is main_thread())))
    assert not one.is_done
    assert not other.is_done
    go.set()
    ahead.settle()
    assert one.is_done
    assert other.is_done
    assert done == [("first", False), ("other", False)]


def test_load_that_fails_is_done_and_lets_the_next_one_go_on() -> None:
    def fails() -> None:
        raise ImportError("not here")

    one, seen = ahead.load(fails), []
    ahead.load(lambda: seen.append(1))
    ahead.settle()
    assert one.is_done
    assert seen == [1]


def test_settled_when_nothing_was_loaded() -> None:
    ahead.settle()
    ahead.settle()
