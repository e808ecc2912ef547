"""Stand-ins for AWS over real HTTP: moto's server for EFS and Cost Explorer, and one with a price list."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
from moto.backends import get_backend
from moto.server import ThreadedMotoServer

REGION = "us-west-2"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": REGION,
               "AWS_EC2_METADATA_DISABLED": "true"}


def offer(storage_class: str, usagetype: str, price: str, unit: str = "GB-Mo") -> str:
    """One entry of the Pricing API's answer."""
    return json.dumps({
        "product": {"productFamily": "Storage",
                    "attributes": {"storageClass": storage_class, "usagetype": usagetype}},
        "terms": {"OnDemand": {"T": {"priceDimensions": {"D": {"unit": unit,
                                                               "pricePerUnit": {"USD": price}}}}}},
    })


OFFERS = [
    offer("General Purpose", "USW2-TimedStorage-ByteHrs", "0.3000000000"),
    offer("Infrequent Access", "USW2-IATimedStorage-ByteHrs", "0.0160000000"),
    offer("Archive", "USW2-ArchiveTimedStorage-ByteHrs", "0.0080000000"),
    offer("One Zone-General Purpose", "USW2-TimedStorage-Z-ByteHrs", "0.1600000000"),
    offer("One Zone-Infrequent Access", "USW2-IATimedStorage-Z-ByteHrs", "0.0133000000"),
    offer("Infrequent Access", "USW2-IADataAccess-Bytes", "0.0100000000", "GigaBytes"),
    json.dumps({"product": {"attributes": {"usagetype": "USW2-ProvisionedTP-MiBpsHrs"}}, "terms": {}}),
]


class _Pricing(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"PriceList": OFFERS}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A real HTTP server on loopback; yields its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def aws() -> Iterator[dict[str, str]]:
    """Start the stand-ins; yields the environment variables that make boto3 use them."""
    moto = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    with serving(_Pricing) as pricing:
        try:
            yield {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://{host}:{port}",
                   "AWS_ENDPOINT_URL_PRICING": pricing}
        finally:
            moto.stop()


def client(name: str, env: dict[str, str], region: str = REGION) -> Any:
    """A boto3 client of the stand-in, with which a test prepares it."""
    return boto3.client(name, region_name=region, endpoint_url=env["AWS_ENDPOINT_URL"],
                        aws_access_key_id="key", aws_secret_access_key="secret")


def file_system(env: dict[str, str], stored: dict[str, int], **words: Any) -> str:
    """Create an EFS file system with `stored` bytes per storage class (moto's own are always empty)."""
    found = client("efs", env).create_file_system(CreationToken="t", **words)["FileSystemId"]
    backend = get_backend("efs")["123456789012"][REGION]

    class Filled(type(backend.file_systems_by_id[found])):
        @property
        def size_in_bytes(self) -> dict[str, Any]:
            return {**super().size_in_bytes, "Value": sum(stored.values()), **stored}

    backend.file_systems_by_id[found].__class__ = Filled
    return found


@contextmanager
def unresponsive() -> Iterator[tuple[str, list[socket.socket]]]:
    """A server that accepts and never answers; yields its URL and the connections that were made."""
    listener = socket.create_server(("127.0.0.1", 0))
    made: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                made.append(listener.accept()[0])
            except OSError:
                return

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", made
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in made:
            connection.close()
