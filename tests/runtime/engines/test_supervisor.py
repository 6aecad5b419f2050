from impetus.runtime.engines.supervisor import RestartBackoff


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_pauses_double_up_to_a_bound() -> None:
    backoff = RestartBackoff(clock=Clock())
    assert [backoff.next_delay_s() for _ in range(10)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]


def test_a_healthy_time_begins_anew() -> None:
    clock = Clock()
    backoff = RestartBackoff(clock=clock)
    backoff.next_delay_s()
    backoff.next_delay_s()
    backoff.note_healthy()
    clock.now_s = 59
    assert backoff.next_delay_s() == 0.8
    backoff.note_healthy()
    clock.now_s = 59 + 60
    assert backoff.next_delay_s() == 0.2


def test_time_without_an_engine_is_no_healthy_time() -> None:
    clock = Clock()
    backoff = RestartBackoff(clock=clock)
    backoff.next_delay_s()
    clock.now_s = 1000
    assert backoff.next_delay_s() == 0.4


def test_thousands_of_crashes_are_counted() -> None:
    backoff = RestartBackoff(clock=Clock())
    assert {backoff.next_delay_s() for _ in range(5000)} >= {0.2, 30.0}
