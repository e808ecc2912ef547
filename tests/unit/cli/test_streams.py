"""Bytes that are passed on to a reader that is slow, stuck or gone."""

from __future__ import annotations

import os

from nfresume.cli.streams import Stream

DATA = os.urandom(200_000)


def test_a_reader_that_takes_nothing():
    """A signal interrupts the wait; nothing is lost or doubled when the reader goes on."""
    reading, writing = os.pipe()
    wake = os.eventfd(0, os.EFD_NONBLOCK)
    stream = Stream(writing, wake)
    os.eventfd_write(wake, 1)
    stream.write(DATA, patient=True)  # ends at once
    got = b""
    while len(got) < len(DATA):
        stream.write(b"", patient=False)  # ends when the pipe has been full for half a second
        got += os.read(reading, 1 << 20)
    assert got == DATA
    for fd in (reading, writing, wake):
        os.close(fd)


def test_a_reader_that_has_gone():
    """What cannot be written is dropped, and is no error."""
    reading, writing = os.pipe()
    os.close(reading)
    stream = Stream(writing)
    for _ in range(2):
        stream.write(DATA, patient=True)
    os.close(writing)
    Stream(writing).write(DATA, patient=True)  # a closed descriptor


def test_a_descriptor_that_does_not_block():
    """A pipe that somebody else has made non-blocking gets everything, too."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    stream, got = Stream(writing), b""
    stream.write(DATA[:60_000], patient=True)
    while len(got) < 60_000:
        got += os.read(reading, 1 << 20)
    assert got == DATA[:60_000]
    os.close(reading)
    os.close(writing)
