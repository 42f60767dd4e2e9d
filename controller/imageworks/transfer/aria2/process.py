"""The aria2c child: started on loopback with a secret that is on no command line, spoken to in JSON-RPC, dead with us.

What each option guards against was measured; see docs/architecture.md. The client is our own because the ready-made
one brings a second HTTP stack and solves none of this.
"""

from __future__ import annotations  # the client is imported where it is used

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkstemp
from typing import TYPE_CHECKING, Any

from imageworks.files.errors import Aria2Error, Aria2NotFoundError
from imageworks.files.staging import write_all
from imageworks.foundation.bounded_json import read_json
from imageworks.foundation.certificates import trusted_certificates
from imageworks.foundation.proxies import NetworkSettingError, proxy_for

if TYPE_CHECKING:
    import http.client
    from collections.abc import Mapping, Sequence

PACKAGE = "aria2c"
"""The package beside us that `doctor --install` brings, with a static aria2c in it."""
START_ATTEMPTS = 5
START_SECONDS = 10.0
STOP_SECONDS = 5.0
CALL_SECONDS = 30.0
_LISTENING = "IPv4 RPC: listening on TCP port"
_NOT_LISTENING = "failed to bind"  # aria2 goes on without the port, which may be someone else's
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR")

FIXED_OPTIONS: Mapping[str, str] = {
    "disk-cache": "0",  # its write cache aborts after a pause and on a server that ignores ranges
    "continue": "false",  # with it, a part without its control file is taken as right: silent corruption
    "allow-overwrite": "true",  # ... and so a part resumes if and only if its control file exists
    "auto-file-renaming": "false",
    "always-resume": "true",
    "file-allocation": "none",  # each download says whether its disk reserves room
    "auto-save-interval": "1",  # how many seconds of bytes a kill may cost
    "follow-metalink": "false",  # a repository file named x.meta4 would make it fetch the addresses inside
    "follow-torrent": "false",
    "no-netrc": "true",
    "no-want-digest-header": "true",  # a server's wrong Digest header would fail good bytes; we verify ourselves
    "stream-piece-selector": "inorder",  # so that hashing can follow from the front
    "max-tries": "5",
    "retry-wait": "2",  # above 0, or a 503 is not tried again
    "connect-timeout": "15",
    "max-concurrent-downloads": "256",  # the engine decides how many
    "max-download-result": "1000",
    "remote-time": "false",
    "enable-dht": "false",
    "enable-rpc": "true",
    "rpc-listen-all": "false",
    "rpc-max-request-size": "16M",
    "user-agent": "imageworks-models",
    "console-log-level": "notice",
    "show-console-readout": "false",
    "summary-interval": "0",
}


class NotByAria2Error(Aria2Error):
    """A link cannot be fetched by aria2c here; our own connections can."""


def aria2_proxy(url: str) -> dict[str, str]:
    """Return the options with which aria2c fetches a link by the same proxy as our own connections, or by none."""
    if url.startswith("https:"):
        trusted_certificates()
    proxy = proxy_for(url)
    if proxy is None:
        return {"all-proxy": ""}
    if proxy.scheme != "http":
        raise NotByAria2Error(f"aria2c knows no {proxy.scheme} proxy ({proxy.variable})")
    user = {} if proxy.user is None else {"all-proxy-user": proxy.user, "all-proxy-passwd": proxy.password}
    return {"all-proxy": f"http://{proxy.place}", **user}


def find_aria2c() -> Path:
    """Return where aria2c is, or raise Aria2NotFoundError with what to install."""
    found = shutil.which("aria2c")
    if found is not None:
        return Path(found)
    packaged = find_spec(PACKAGE)
    program = Path(packaged.origin).with_name("bin") / "aria2c" if packaged is not None and packaged.origin else None
    if program is None or not os.access(program, os.X_OK):
        raise Aria2NotFoundError
    return program


class Aria2Process:
    """One running aria2c; to be used from one thread, which must outlive it: Linux ends it with that very thread."""

    def __init__(self, options: Mapping[str, str]) -> None:
        self._program = find_aria2c()
        self._options = dict(options)
        self._secret = secrets.token_urlsafe(32)
        self._connection: http.client.HTTPConnection | None = None
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    def start(self) -> None:
        """Start the child and wait until its port is its own; raise Aria2Error when it will not run."""
        import http.client

        said = ""
        for _ in range(START_ATTEMPTS):
            port = _free_port()
            self._process = self._spawn(port)
            listening, said = self._wait_until_listening(self._process)
            if listening:
                self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CALL_SECONDS)
                return
            self._kill()
        raise Aria2Error(f"aria2c does not start: {said.strip() or 'it says nothing'}", remedy="try aria2c --version")

    def call(self, method: str, *parameters: object) -> Any:  # noqa: ANN401 - JSON
        """Call one method and return its result; raise Aria2Error when it fails or the child is gone."""
        return self._post({"method": method, "params": [self._token, *parameters]})

    def call_all(self, calls: Sequence[tuple[str, Sequence[object]]]) -> list[Any]:
        """Call many methods in one request."""
        if not calls:
            return []
        wrapped = [{"methodName": method, "params": [self._token, *parameters]} for method, parameters in calls]
        results = self._post({"method": "system.multicall", "params": [wrapped]})
        return [result[0] if isinstance(result, list) else result for result in results]

    def stop(self, *, idle: bool = False) -> None:
        """End the child, letting it write its control files."""
        if self._process is not None and not idle and self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        self._kill()

    @property
    def _token(self) -> str:
        return f"token:{self._secret}"

    def _kill(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None and not self._process.stdout.closed:
                with suppress(OSError, ValueError):
                    self._process.stdout.close()
            self._process = None

    def _spawn(self, port: int) -> subprocess.Popen[str]:
        """Start the program with its configuration in memory, or in a file that only we can read."""
        lines = {**FIXED_OPTIONS, **self._options, "rpc-listen-port": str(port), "rpc-secret": self._secret}
        descriptors = []
        try:
            if (trusted := _trust()) is not None:
                descriptor, lines["ca-certificate"] = _hidden_file(trusted)
                descriptors.append(descriptor)
            text = "".join(f"{name}={value}\n" for name, value in lines.items())
            descriptor, path = _hidden_file(text.encode())
            descriptors.append(descriptor)
            command = [str(self._program), f"--conf-path={path}", f"--stop-with-process={os.getpid()}"]
            if sys.platform == "linux" and (setpriv := shutil.which("setpriv")):
                command = [setpriv, "--pdeathsig", "TERM", *command]
            return subprocess.Popen(  # noqa: S603 - the program found above and our own options
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=descriptors,
                env=_environment(),
                cwd="/",
                start_new_session=True,  # a ^C is ours to handle: aria2 is then asked to save its control files
                text=True,
                errors="replace",
            )
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _wait_until_listening(self, process: subprocess.Popen[str]) -> tuple[bool, str]:
        """Follow what the child prints until it says whether it has its port; afterwards only drain it."""
        decided = threading.Event()
        listening = False
        said: list[str] = []

        def drain() -> None:
            nonlocal listening
            stream = process.stdout
            if stream is None:
                return
            with suppress(ValueError):  # closed by us
                for line in stream:
                    if decided.is_set():
                        continue
                    said.append(line)
                    if _LISTENING in line:
                        listening = True
                    if listening or _NOT_LISTENING in line:
                        decided.set()
            decided.set()

        threading.Thread(target=drain, name="aria2-output", daemon=True).start()
        decided.wait(START_SECONDS)
        return listening, "".join(said[-3:])

    def _post(self, request: dict[str, object]) -> Any:  # noqa: ANN401 - JSON
        import http.client

        if self._connection is None:
            raise Aria2Error("aria2c is not running")
        body = json.dumps({"jsonrpc": "2.0", "id": "1", **request})
        try:
            self._connection.request("POST", "/jsonrpc", body, {"Content-Type": "application/json"})
            answer = read_json(self._connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._connection.close()  # the next call connects again
            raise Aria2Error(f"aria2c does not answer: {error}") from error
        if "error" in answer:
            raise Aria2Error(f"aria2c refuses {request['method']}: {answer['error'].get('message')}")
        return answer["result"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _hidden_file(content: bytes) -> tuple[int, str]:
    """Write what no other user is to see; return an open descriptor and the child's path to it."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("aria2", 0)
    else:
        descriptor, name = mkstemp(prefix="aria2-")
        Path(name).unlink()
    write_all(descriptor, memoryview(content))
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor, f"/dev/fd/{descriptor}"


def _environment() -> dict[str, str]:
    """Give the child what it needs and nothing else: no token in our environment reaches its own, and no proxy.

    Each download says its proxy: aria2 reads the variables otherwise than we do.
    """
    return {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}


def _trust() -> bytes | None:
    """Return the certificates that the environment names; who asks for an encrypted link is told what is wrong."""
    with suppress(NetworkSettingError):
        return trusted_certificates()
    return None
