"""The first signal asks for a pause. The next one ends the process."""

import os
import signal

from nfresume.system.pausing import pausable


def test_a_signal_asks_for_a_pause():
    """The event is set, the exit code is a shell's, and the previous handlers are restored."""
    before = signal.getsignal(signal.SIGTERM)
    with pausable() as pause:
        assert not pause.event.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert pause.event.wait(5)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL  # a second signal ends the process
    assert pause.exit_code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
