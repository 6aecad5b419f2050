"""The real command in a real terminal: keys in, the screen out, and a clean end."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pyte
import pytest

pytestmark = pytest.mark.terminal
IMPETUS = Path(sys.executable).with_name("impetus")
PATIENCE_S = 30


class Terminal:
    """A process in a pseudo-terminal, and the screen that its output makes."""

    def __init__(self, command: list[str], environment: dict[str, str], *, columns: int, lines: int) -> None:
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            os.execve(command[0], command, environment)
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display)

    def press(self, keys: str) -> None:
        os.write(self._descriptor, keys.encode())

    def wait_for(self, *words: str) -> None:
        """Reads until all of these stand on the screen."""
        self._read_until(lambda: all(word in self.text for word in words), f"{words} did not come")

    def wait_without(self, word: str) -> None:
        self._read_until(lambda: word not in self.text, f"'{word}' did not go")

    def wait_for_end(self) -> int:
        """Reads until the process ends; gives its exit code."""
        ended: list[int] = []

        def has_ended() -> bool:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                ended.append(os.waitstatus_to_exitcode(status))
            return bool(ended)

        self._read_until(has_ended, "the process did not end")
        return ended[0]

    def close(self) -> None:
        os.close(self._descriptor)

    def _read_until(self, condition: Callable[[], bool], complaint: str) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline_s:
                pytest.fail(f"{complaint}\n{self.text}")
            if select.select([self._descriptor], [], [], 0.05)[0]:
                try:
                    self._stream.feed(os.read(self._descriptor, 65536))
                except OSError:  # Linux's way to say that the other end is closed.
                    continue


def start(tmp_path: Path, *options: str, columns: int = 120, lines: int = 40) -> Terminal:
    models = tmp_path / "models"
    models.mkdir(exist_ok=True)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "LANG": "C.UTF-8",
        "IMPETUS_HOME": str(tmp_path / "home"),
        "HF_HOME": str(tmp_path / "hf"),
    }
    return Terminal([str(IMPETUS), "--models-dir", str(models), *options], environment, columns=columns, lines=lines)


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Starts dashboards, and sees to it that none of them or of their children is left."""
    opened: list[Terminal] = []

    def open_one(*options: str, **size: int) -> Terminal:
        opened.append(start(tmp_path, *options, **size))
        return opened[-1]

    yield open_one
    for terminal in opened:
        if psutil.pid_exists(terminal.pid):
            for process in [*psutil.Process(terminal.pid).children(recursive=True), psutil.Process(terminal.pid)]:
                process.kill()
            os.waitpid(terminal.pid, 0)
        terminal.close()


def test_a_whole_visit(terminals):
    terminal = terminals("--port", "0", "--echo", "--model", "echo")
    terminal.wait_for("impetus", "● serving", "http://127.0.0.1:", "echo", "● ready")
    children = psutil.Process(terminal.pid).children(recursive=True)
    assert children
    terminal.press("4")
    terminal.wait_for("Write to the model")
    terminal.press("good morning\r")
    terminal.wait_for("you  good morning", "done ·")
    terminal.press("\x1b")
    terminal.wait_for("Quit")
    terminal.press("1")
    terminal.wait_for("✓ done", "dashboard", "tok/s")
    terminal.press("2")
    terminal.wait_for("● ready · loaded in")
    terminal.press("u")
    terminal.wait_for("0 of ", " loaded", "○ on disk")
    terminal.press("?")
    terminal.wait_for("Help · Models")
    terminal.press("q")
    terminal.wait_without("Help · Models")
    terminal.press("q")
    assert terminal.wait_for_end() == 0
    assert not [child for child in children if child.is_running()]


def test_a_small_terminal_shows_what_matters(terminals):
    terminal = terminals("--port", "0", "--echo", "--model", "echo", columns=80, lines=24)
    terminal.wait_for("● serving", "Memory", "CPU", "Throughput", "Requests", "Quit")
    terminal.press("\x11")
    assert terminal.wait_for_end() == 0


def test_a_busy_port_leaves_the_dashboard_usable(terminals):
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        terminal = terminals("--port", str(port), "--echo", "--model", "echo")
        terminal.wait_for("✗ not serving", str(port), "● ready")
        terminal.press("4")
        terminal.wait_for("Write to the model")
        terminal.press("still here?\r")
        terminal.wait_for("you  still here?", "done ·")
        terminal.press("\x11")
        assert terminal.wait_for_end() == 0
