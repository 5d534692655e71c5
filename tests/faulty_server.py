"A web server on this machine that goes wrong when it is told to; it keeps what it was asked"
import base64
import gzip
import hashlib
import io
import tarfile
import threading
import time
from collections import namedtuple
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DATE = 'Thu, 01 Jan 2015 00:00:00 GMT'
Request = namedtuple('Request', 'path headers')


@dataclass
class Fault:
    "What is wrong with the answers to `times` requests for a file"
    status: int | None = None  # this status and no file
    location: str | None = None  # send on to this address
    drop: int | None = None  # close the connection after so many bytes of the body
    announce: int | None = 0  # so many bytes more, or fewer, in Content-Length than there are; None: no Content-Length
    ranges: bool = True  # False: send the whole file, whatever was asked for
    careless: bool = False  # heed Range but not If-Range
    shift: int = 0  # a part that begins so many bytes further on than was asked for
    silence: float = 0  # seconds without a byte before the body
    pace: float = 0  # seconds between two blocks of 4 KiB
    then: bytes | None = None  # what the file is from the next request on
    times: int = 1


class FaultyServer:
    "Serve `files` (name → bytes) from a port that is free, to whoever has the login, or to all if there is none"
    def __init__(self, files, user=None, password=None, etag=True, date=True):
        self.files, self.etag, self.date = dict(files), etag, date
        self.login = user and 'Basic ' + base64.b64encode(f'{user}:{password}'.encode()).decode()
        self.faults = {}  # name → list of `Fault`, the first one is next
        self.requests = []
        self.http = ThreadingHTTPServer(('127.0.0.1', 0), _Handler)
        self.http.faulty, self.http.daemon_threads = self, True
        self.url = f'http://127.0.0.1:{self.http.server_port}'

    def __enter__(self):
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()

    def next_fault(self, name):
        faults = self.faults.get(name, [])
        if not faults: return Fault()
        faults[0].times -= 1
        return faults[0] if faults[0].times else faults.pop(0)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True  # or each answer takes 40 ms

    def log_message(self, *_): pass

    def answer(self, status, **headers):
        self.send_response(status)
        for name, value in headers.items(): self.send_header(name.replace('_', '-'), value)
        self.end_headers()

    def do_GET(self):
        server, name = self.server.faulty, self.path.strip('/')
        server.requests.append(Request(self.path, dict(self.headers)))
        if server.login and self.headers.get('Authorization') != server.login:
            return self.answer(401, WWW_Authenticate='Basic realm="faces"', Content_Length=0)
        fault = server.next_fault(name)
        if fault.location: return self.answer(302, Location=fault.location, Content_Length=0)
        if fault.status: return self.answer(fault.status, Content_Length=0)
        if name not in server.files: return self.answer(404, Content_Length=0)
        body = server.files[name]
        if fault.then is not None: server.files[name] = fault.then
        self.send_file(server, fault, body)

    def send_file(self, server, fault, body):
        tag = {'ETag': f'"{hashlib.sha256(body).hexdigest()}"'} if server.etag else {}
        date = {'Last_Modified': DATE} if server.date else {}
        size, begin, asked = len(body), 0, self.headers.get('Range')
        same = self.headers.get('If-Range') in (None, *tag.values(), *date.values())
        if asked and fault.ranges and (same or fault.careless):
            begin = int(asked.removeprefix('bytes=').removesuffix('-')) + fault.shift
            if begin >= size: return self.answer(416, Content_Range=f'bytes */{size}', Content_Length=0)
        part = {'Content_Range': f'bytes {begin}-{size - 1}/{size}'} if begin else {}
        body = body[begin:]
        length = {} if fault.announce is None else {'Content_Length': len(body) + fault.announce}
        self.answer(206 if begin else 200, **length, **tag, **date, **part)
        time.sleep(fault.silence)
        end = len(body) + min(fault.announce or 0, 0) if fault.drop is None else fault.drop
        try:
            for i in range(0, end, 4096):
                self.wfile.write(body[i:min(i + 4096, end)])
                if fault.pace: time.sleep(fault.pace)
        except OSError: pass  # whoever asked has gone
        self.close_connection = fault.drop is not None or fault.announce != 0


def tar_gz(files, level=9):
    "Pack files (name → bytes, or a whole `TarInfo` → bytes); at level 0 the size depends on theirs alone"
    packed = io.BytesIO()
    with (gzip.GzipFile(fileobj=packed, mode='wb', compresslevel=level, mtime=0) as gz,
          tarfile.open(fileobj=gz, mode='w') as tar):
        for member, content in files.items():
            if isinstance(member, str):
                member = tarfile.TarInfo(member)
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()
