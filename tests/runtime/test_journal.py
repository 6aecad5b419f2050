from impetus.runtime.events import Finished, PrefixReport
from impetus.runtime.journal import Journal, RequestRecord


def open_record(journal: Journal) -> RequestRecord:
    return journal.open(model="m", client="test", route="/v1/chat/completions")


def test_a_record_moves_through_its_stages_and_tells_each_once() -> None:
    journal = Journal()
    heard: list[str] = []
    remove = journal.listen(lambda record: heard.append(record.stage))
    record = open_record(journal)
    journal.move(record, "loading")
    journal.move(record, "prefill")
    journal.count_tokens(record, 1)
    journal.count_tokens(record, 4)
    journal.move(record, "done")
    journal.move(record, "cancelled")
    assert heard == ["queued", "loading", "prefill", "decode", "done"]
    assert record.completion_tokens == 5
    assert record.ttft_s is not None
    assert record.ended_s is not None
    assert record.decode_tps is not None
    assert journal.tokens_by_model == {"m": 5}
    assert journal.ended_by_stage == {"done": 1}
    remove()
    open_record(journal)
    assert len(heard) == 5


def test_unknown_figures_are_none() -> None:
    record = open_record(Journal())
    assert (record.ttft_s, record.decode_tps, record.prompt_tokens, record.cached_tokens) == (None, None, None, None)
    assert (record.prefix, record.draft_tokens, record.accepted_tokens) == (None, None, None)


def test_where_a_prompt_came_from_is_known_before_its_end_and_counted_once() -> None:
    journal = Journal()
    record = open_record(journal)
    journal.count_prompt(record, 100)
    journal.note_prefix(record, PrefixReport(60, 30, 10))
    journal.note_prefix(record, PrefixReport(0, 0, 100))
    assert record.cached_tokens == 90
    assert journal.prompt_tokens_by_model == {"m": 100}
    counts = {("m", "ram"): 60, ("m", "disk"): 30, ("m", "computed"): 10}
    assert journal.prompt_tokens_by_origin == counts
    journal.move(record, "cancelled")
    assert record.prefix == PrefixReport(60, 30, 10)


def test_guesses_are_added_up_over_choices() -> None:
    journal = Journal()
    record = open_record(journal)
    for index in range(2):
        journal.end_choice(record, Finished(index, "length", 100, 20, draft_tokens=16, accepted_tokens=12 - index))
    assert (record.finish_reason, record.draft_tokens, record.accepted_tokens) == ("length", 32, 23)
    assert (journal.draft_tokens_by_model["m"], journal.accepted_tokens_by_model["m"]) == (32, 23)


def test_only_the_newest_are_kept() -> None:
    journal = Journal(capacity=3)
    records = [open_record(journal) for _ in range(5)]
    assert journal.newest(2) == [records[4], records[3]]
    assert list(journal) == records[2:]
    assert journal.find(records[0].id) is None
    assert journal.find(records[4].id) is records[4]
