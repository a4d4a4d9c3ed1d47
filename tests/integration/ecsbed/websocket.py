"""The server's side of a WebSocket (RFC 6455) with nothing hidden: tests can fragment, ping, send rubbish,
close with any code, or cut the TCP connection."""

import base64
import hashlib
import struct
import threading

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MAX_MESSAGE = 16 << 20


class ProtocolError(Exception):
    """The client broke RFC 6455."""


def handshake_problems(request):
    """What is wrong with an upgrade request."""
    found = []
    if request.method != "GET":
        found.append(f"method {request.method}")
    if (request.header("Upgrade") or "").lower() != "websocket":
        found.append(f"Upgrade: {request.header('Upgrade')}")
    if "upgrade" not in (request.header("Connection") or "").lower():
        found.append(f"Connection: {request.header('Connection')}")
    if request.header("Sec-WebSocket-Version") != "13":
        found.append(f"Sec-WebSocket-Version: {request.header('Sec-WebSocket-Version')}")
    try:
        if len(base64.b64decode(request.header("Sec-WebSocket-Key") or "", validate=True)) != 16:
            raise ValueError
    except ValueError:
        found.append(f"Sec-WebSocket-Key: {request.header('Sec-WebSocket-Key')}")
    for name in ("Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"):
        if request.header(name):
            found.append(f"{name} should not be there")
    return found


class WebSocket:
    """receive() yields (opcode, bytes) of whole messages and control frames, until the end."""

    def __init__(self, request):
        self.connection = request.connection
        self.sending = threading.RLock()    # to be held over a message in fragments: nothing comes between
        self.open = True
        accept = base64.b64encode(hashlib.sha1(
            (request.header("Sec-WebSocket-Key") + _GUID).encode()).digest()).decode()
        self.connection.sock.sendall(
            ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             f"Sec-WebSocket-Accept: {accept}\r\n\r\n").encode())

    def send_frame(self, opcode, payload=b"", final=True, reserved=0, mask=b""):
        """reserved: bits that have to be 0; mask: four bytes that only clients may use."""
        size = len(payload)
        head = bytes([opcode | reserved | (0x80 if final else 0)])
        if size < 126:
            head += bytes([size | (0x80 if mask else 0)])
        elif size < 65536:
            head += b"\x7e" + struct.pack(">H", size)
        else:
            head += b"\x7f" + struct.pack(">Q", size)
        head += mask
        with self.sending:
            self.connection.sock.sendall(head + payload)

    def send_fragments(self, chunks, opcode=TEXT):
        """One message in several frames."""
        with self.sending:
            for index, chunk in enumerate(chunks):
                self.send_frame(CONTINUATION if index else opcode, chunk, index == len(chunks) - 1)

    def close(self, code=1000, reason=""):
        """Sends a close frame and leaves the rest to the client's answer; code None: an empty one."""
        payload = b"" if code is None else struct.pack(">H", code) + reason.encode()
        self.send_frame(CLOSE, payload)

    def eof(self):
        """Ends the TCP connection in order (FIN) without a close frame."""
        self.open = False
        self.connection.close()

    def abort(self):
        """Cuts the TCP connection (RST)."""
        self.open = False
        self.connection.close(reset=True)

    def _exactly(self, count):
        data = self.connection.file.read(count)
        if len(data) < count:
            raise EOFError
        return data

    def receive(self):
        whole, first_opcode = b"", None
        while True:
            one, two = self._exactly(2)
            opcode, final, size = one & 15, one & 0x80, two & 0x7f
            if one & 0x70:
                raise ProtocolError("reserved bits are set")
            if not two & 0x80:
                raise ProtocolError("a frame from the client is not masked")
            if size == 126:
                size, = struct.unpack(">H", self._exactly(2))
            elif size == 127:
                size, = struct.unpack(">Q", self._exactly(8))
            if size > MAX_MESSAGE:
                raise ProtocolError(f"a frame of {size} bytes")
            mask = self._exactly(4)
            data = self._exactly(size)
            payload = bytes(a ^ b for a, b in zip(data, (mask * (size // 4 + 1))[:size])) if size else b""
            if opcode >= CLOSE:
                if not final or size > 125:
                    raise ProtocolError("a control frame is fragmented or too long")
                yield opcode, payload
                continue
            if (opcode == CONTINUATION) == (first_opcode is None):
                raise ProtocolError("continuation frame out of place")
            if opcode != CONTINUATION:
                first_opcode = opcode
            whole += payload
            if final:
                yield first_opcode, whole
                whole, first_opcode = b"", None
