"""What can be made to go wrong with a call: scripted by a test, used up one request at a time."""

import threading


class Fault:
    """action: error (an answer with status and type), drop (close without an answer), delay (answer after
    seconds), hold (answer when released), garble (an answer that is no JSON), script (script(request) answers by
    itself, and the connection is closed behind it)."""

    def __init__(self, operation, action="error", times=1, status=500, type="ServerException",
                 message="test", seconds=0.0, match=None, script=None):
        self.operation, self.action, self.left = operation, action, times
        self.status, self.type, self.message, self.seconds = status, type, message, seconds
        self.match, self.script = match, script
        self.reached = threading.Event()    # a request has come to it
        self.released = threading.Event()

    def release(self):
        """Lets held requests go, and catches no more."""
        self.left = 0
        self.released.set()

    def wait_reached(self, timeout=20):
        if not self.reached.wait(timeout):
            raise AssertionError(f"no request came to {self.action} of {self.operation} in {timeout} s")


class Faults:
    def __init__(self):
        self.lock = threading.Lock()
        self.faults = []

    def add(self, fault):
        with self.lock:
            self.faults.append(fault)
        return fault

    def take(self, operation, body):
        """The fault for this request, if any; counts it."""
        with self.lock:
            for fault in self.faults:
                if fault.operation == operation and fault.left > 0 and (not fault.match or fault.match(body)):
                    fault.left -= 1
                    fault.reached.set()
                    return fault
        return None

    def clear(self):
        with self.lock:
            for fault in self.faults:
                fault.release()
            self.faults.clear()
