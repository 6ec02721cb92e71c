"""Does a server stay as large as it is, whatever it is asked?"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from statistics import mean

import pytest

from benchmarks.mixed import ask_all, kinds
from tests.support.server import Server, running

PARTS, CALLS = 8, 2500
#: In the first parts threads are started, and what may be kept from call to call fills up.
WARM_UP = 2
#: All workers together, the second half of the other parts to the first. How large a worker is when
#: it is looked at depends on how long ago it had 3 MB to read; two and a half kilobytes left behind
#: by each call would be 6 %.
MOST = 1.06
#: One worker, at any time, to what it was after these.
MOST_OF_ONE = 1.2


def resident_kb(server: Server) -> dict[int, int]:
    found = {}
    for pid in server.workers():
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                found[pid] = int(line.split()[1])
    return found


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc: run on Linux")
@pytest.mark.fault("O03")
def test_memory_is_flat_over_twenty_thousand_mixed_calls(tmp_path):
    """Each bad call is followed by a good one, which gets the answer that it got before."""
    turn, asked = kinds(), Counter()
    with running(tmp_path, B12_CDS_WORKERS="3") as server:  # two would be replaced by then
        sizes = []
        for _ in range(PARTS):
            asked += ask_all(server.port, turn, CALLS)
            sizes.append(resident_kb(server))
    assert asked.keys() == {kind.name for kind in turn}
    assert asked.total() >= 20_000
    assert all(size.keys() == sizes[0].keys() for size in sizes), "a worker was replaced"
    together = [sum(size.values()) for size in sizes]
    half = (WARM_UP + PARTS) // 2
    assert mean(together[half:]) <= MOST * mean(together[WARM_UP:half]), sizes
    for worker, first in sizes[WARM_UP - 1].items():
        assert max(size[worker] for size in sizes) <= MOST_OF_ONE * first, sizes
    assert not [line for line in server.log() if line["level"] == "error"]
