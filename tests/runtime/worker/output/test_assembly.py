from impetus.runtime.events import TokenLogprob
from impetus.runtime.worker.output.assembly import Assembly


def logprob(number: int, text: bytes) -> TokenLogprob:
    return TokenLogprob(number, text, -float(number))


def run(pieces: list[bytes], stop: tuple[str, ...]) -> list[tuple[str, list[int]]]:
    """What the reader gets per token: text, and the ids of the logprobs with it; the last entry is the end's."""
    assembly = Assembly(stop)
    out: list[tuple[str, list[int]]] = []
    for number, piece in enumerate(pieces):
        text = assembly.push(piece, logprob(number, piece))
        out.append((text, [one.token_id for one in assembly.take_logprobs()] if text else []))
        if assembly.stopped:
            break
    text = assembly.finish()
    out.append((text, [one.token_id for one in assembly.take_logprobs(last=True)]))
    return out


def test_logprobs_come_with_the_text_of_their_token() -> None:
    assert run([b"a", b"b"], ()) == [("a", [0]), ("b", [1]), ("", [])]


def test_logprobs_of_a_split_character_come_when_it_is_whole() -> None:
    first, second = "🦊".encode()[:2], "🦊".encode()[2:]
    assert run([b"a", first, second, b"b"], ()) == [("a", [0]), ("", []), ("🦊", [1, 2]), ("b", [3]), ("", [])]


def test_held_tokens_keep_their_logprobs_until_they_are_shown() -> None:
    assert run([b"a", b"#", b"b"], ("##",)) == [("a", [0]), ("", []), ("#b", [1, 2]), ("", [])]


def test_tokens_that_made_the_stop_string_show_nothing_of_themselves() -> None:
    assert run([b"a", b" #", b"#", b"b"], ("##",)) == [("a", [0]), (" ", [1]), ("", []), ("", [])]


def test_what_is_held_at_the_end_comes_out_with_its_logprobs() -> None:
    assert run([b"a", b"#"], ("##",)) == [("a", [0]), ("", []), ("#", [1])]


def test_a_token_without_text_at_the_very_end_keeps_its_logprob() -> None:
    assert run([b"a", b""], ()) == [("a", [0]), ("", []), ("", [1])]
