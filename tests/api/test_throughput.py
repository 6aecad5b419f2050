"""Whether the server is fast enough for every engine there is."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parent.parent / "benchmarks" / "api_throughput.py"


async def test_sixty_four_streams_carry_forty_thousand_tokens_a_second() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(BENCHMARK), "--tokens", "500", "--rounds", "2", stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
