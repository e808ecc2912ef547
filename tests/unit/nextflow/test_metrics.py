"""What a task used, by its `.command.trace`."""

from nfresume.nextflow import metrics
from nfresume.nextflow.metrics import Metrics


def test_a_trace_is_read():
    """Shares are in tenths of a percent, memory in KiB, I/O in bytes."""
    text = ("nextflow.trace/v2\nrealtime=8504\n%cpu=1983\nrchar=100\nwchar=200\nread_bytes=4096\n"
            "write_bytes=8192\n%mem=12\npeak_vmem=2048\npeak_rss=1024\nvmem=1\nrss=1\n")
    assert metrics.parse(text) == Metrics(198.3, 2**20, 100, 200)


def test_what_is_no_number_is_not_known():
    """Tasks can write anything into this file."""
    found = metrics.parse("%cpu=\npeak_rss=-1\nrchar=1e9\nwchar=²\nrealtime=" + "9" * 30 + "\nx\n=\n")
    assert found == Metrics()
    assert not found.known
    assert not metrics.parse("realtime=5").known  # nothing that is shown
    assert metrics.parse("peak_rss=1").known
