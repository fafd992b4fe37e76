"""How who computes gives way to who answers and refuses, where they share cores."""

import os
import sys
import threading

_NICE = 10


def give_way() -> None:
    """Lowers the calling thread and all that it begins from then on, where threads have priorities of their own."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, max(_NICE, os.getpriority(os.PRIO_PROCESS, thread)))
