"""A small external metrics API (`external.metrics.k8s.io/v1beta1`): what a HorizontalPodAutoscaler reads.

A process beside the cluster, reached through a Service without selector. Values are read when they are asked
for. A client must have the certificate of the API server's front proxy, where the cluster has one.
"""

from __future__ import annotations

import json
import ssl
import threading
from base64 import b64encode
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from inferfleet_local.pki import Authority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from inferfleet_local.kubectl import Kubectl

GROUP, VERSION = "external.metrics.k8s.io", "v1beta1"
API = f"{VERSION}.{GROUP}"
SERVICE, NAMESPACE = "external-metrics", "kube-system"
ROOT = f"/apis/{GROUP}/{VERSION}"


@contextmanager
def serve(
    kubectl: Kubectl, address: str, folder: Path, read: Callable[[str, str], float | None]
) -> Iterator[None]:
    """Offer the API until left.

    Args:
        kubectl: The cluster.
        address: An address of this machine that the API server reaches; a loopback one is no endpoint.
        folder: Where keys and certificates are made.
        read: Namespace and name of a metric to its value; None where it is not known now.
    """
    server = ThreadingHTTPServer((address, 0), _handler(read))
    server.daemon_threads = True
    authority = Authority(folder, "external-metrics-ca")
    context = _tls(authority, kubectl)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, name=SERVICE, daemon=True).start()
    kubectl.apply(service_objects(address, server.server_port, authority.pair.certificate.read_bytes()))
    try:
        yield
    finally:
        withdraw(kubectl)
        server.shutdown()
        server.server_close()


def withdraw(kubectl: Kubectl) -> None:
    """Take the API out of the cluster, if it is there: while nobody serves it no namespace can be deleted."""
    kubectl("delete", "apiservice", API, "--ignore-not-found")
    kubectl("delete", "service,endpointslice", SERVICE, "-n", NAMESPACE, "--ignore-not-found")


def answer(
    path: str, now: datetime, read: Callable[[str, str], float | None]
) -> tuple[int, dict[str, object]]:
    """Status and body for a path: the list of resources, or a metric of a namespace."""
    parts = urlsplit(path).path.removeprefix(ROOT).strip("/").split("/")
    match [unquote(part) for part in parts]:
        case [""]:
            kind = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/{VERSION}"}
            return 200, {**kind, "resources": []}
        case ["namespaces", namespace, metric]:
            value = read(namespace, metric)
            kind = {"kind": "ExternalMetricValueList", "apiVersion": f"{GROUP}/{VERSION}"}
            # the autoscaler takes an empty list as an error, which is what a value that is not known must be
            items = [] if value is None else [_item(metric, value, now)]
            return 200, {**kind, "metadata": {}, "items": items}
        case _:
            return 404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404}


def _item(metric: str, value: float, now: datetime) -> dict[str, object]:
    instant = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    quantity = f"{round(value * 1000)}m"
    return {"metricName": metric, "metricLabels": {}, "timestamp": instant, "value": quantity}


def _handler(read: Callable[[str, str], float | None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, body = answer(self.path, datetime.now(UTC), read)
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    return Handler


def _tls(authority: Authority, kubectl: Kubectl) -> ssl.SSLContext:
    name = f"{SERVICE}.{NAMESPACE}.svc"
    pair = authority.issue("external-metrics", common_name=name, alternatives=[f"DNS:{name}"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    told = kubectl.get("configmap", "extension-apiserver-authentication", "-n", NAMESPACE).get("data", {})
    if front_proxy := told.get("requestheader-client-ca-file"):
        context.load_verify_locations(cadata=front_proxy)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def service_objects(address: str, port: int, authority: bytes) -> list[dict[str, Any]]:
    """Render the Service that leads to a process outside of the cluster, and the APIService that uses it."""
    place = {"name": SERVICE, "namespace": NAMESPACE}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": place,
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": port}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**place, "labels": {"kubernetes.io/service-name": SERVICE}},
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": API},
            "spec": {
                "group": GROUP,
                "version": VERSION,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "caBundle": b64encode(authority).decode(),
                "service": {**place, "port": 443},
            },
        },
    ]
