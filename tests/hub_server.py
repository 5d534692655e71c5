"The part of the Hugging Face Hub's HTTP interface that models are kept and fetched with, on this machine"
import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = 'c' * 40


class Hub(ThreadingHTTPServer):
    "Keeps repositories as dicts of files; remembers who asked for what"
    daemon_threads = True

    def __init__(self):
        super().__init__(('127.0.0.1', 0), _Handler)
        self.repos, self.made, self.asked, self.tokens, self.broken, self.commit = {}, [], [], [], None, COMMIT
        self.url = f'http://127.0.0.1:{self.server_port}'

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_): self.gone()

    def gone(self):
        "Answer nobody any more, not even over connections that are open"
        self.broken = 'gone'
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *_): pass

    def reply(self, content, status=200, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (dict(Content_Length=len(body)) | headers).items():
            self.send_header(name.replace('_', '-'), str(value))
        self.end_headers()
        if self.command != 'HEAD': self.wfile.write(body)

    def refuse(self, status, code, message):
        self.reply(dict(error=message), status, X_Error_Code=code, X_Error_Message=message)

    def handle_any(self):
        hub, body = self.server, self.rfile.read(int(self.headers.get('Content-Length') or 0))
        path, token = self.path.partition('?')[0], self.headers.get('Authorization')
        hub.asked.append((self.command, path))
        hub.tokens.append(token)
        if hub.broken == 'gone':
            self.close_connection = True
            return
        if hub.broken: return self.refuse(hub.broken, '', f'out of order, {token}')         # an unwise server
        if self.command == 'POST' and not token: return self.refuse(401, '', 'Invalid username or password.')
        if path == '/api/validate-yaml': return self.reply(dict(errors=[], warnings=[]))
        if path == '/api/repos/create':
            asked = json.loads(body)
            name = f'{asked["organization"]}/{asked["name"]}'
            if name in hub.repos: return self.reply(dict(error='You already created it', url=f'{hub.url}/{name}'), 409)
            hub.repos[name] = {}
            hub.made.append(asked)
            return self.reply(dict(url=f'{hub.url}/{name}', name=name, id='1'))
        if m := re.fullmatch(r'/api/models/([^/]+/[^/]+)/(preupload|commit)/main', path):
            name, what = m.groups()
            if name not in hub.repos: return self.refuse(404, 'RepoNotFound', 'Repository not found')
            if what == 'preupload':
                files = [dict(path=f['path'], uploadMode='regular', shouldIgnore=False, oid=None)
                         for f in json.loads(body)['files']]
                return self.reply(dict(files=files))
            for line in map(json.loads, body.splitlines()):
                if line['key'] == 'file':
                    hub.repos[name][line['value']['path']] = base64.b64decode(line['value']['content'])
            return self.reply(dict(commitUrl=f'{hub.url}/{name}/commit/{COMMIT}', commitOid=COMMIT, success=True,
                                   hookOutput=''))
        if m := re.fullmatch(r'/([^/]+/[^/]+)/resolve/([^/]+)/(.+)', path):
            name, revision, file = m.groups()
            if name not in hub.repos: return self.refuse(401, 'RepoNotFound', 'Repository not found')
            if revision not in ('main', 'v1', COMMIT): return self.refuse(404, 'RevisionNotFound', 'Invalid rev id')
            if file not in hub.repos[name]: return self.refuse(404, 'EntryNotFound', 'Entry not found')
            content = hub.repos[name][file]
            return self.reply(content, ETag=f'"{hashlib.sha256(content).hexdigest()}"', X_Repo_Commit=hub.commit,
                              Accept_Ranges='bytes')
        self.refuse(404, '', 'Not found')

    do_GET = do_HEAD = do_POST = handle_any
