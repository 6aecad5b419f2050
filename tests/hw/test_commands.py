from __future__ import annotations

import sys

from impetus.hw.probes import commands
from impetus.hw.probes.commands import PatientRunner, run_command


def test_output_counts_even_where_the_program_fails():
    assert run_command([sys.executable, "-c", "print('hw.memsize: 1'); raise SystemExit(1)"]) == "hw.memsize: 1\n"


def test_a_program_that_is_not_there_gives_nothing():
    assert run_command(["/nonexistent/vm_stat"]) is None


def test_bytes_that_are_no_text_are_survived():
    assert run_command([sys.executable, "-c", r"import sys; sys.stdout.buffer.write(b'\xff\xfe')"]) == "\ufffd\ufffd"


def test_a_program_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(commands, "TIME_LIMIT_S", 0.05)
    assert run_command([sys.executable, "-c", "import time; time.sleep(60)"]) is None


def test_one_failing_command_does_not_rest_another():
    now_s = 0.0
    asked = []
    run = PatientRunner(lambda arguments: asked.append(tuple(arguments)), clock=lambda: now_s)
    for second in (0.0, 1.0, 59.9):
        now_s = second
        run("a")
    assert asked == [("a",)]
    run("a", "-x")
    now_s = 60.0
    run("a")
    assert asked == [("a",), ("a", "-x"), ("a",)]
