"""What every cluster with real nodes has from the start: DNS and shared volumes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from inferfleet_local.kubectl import Kubectl
    from inferfleet_local.network import AddressPlan

STORAGE_CLASS = "shared"
VOLUMES = 6
VOLUME_SIZE = "100Gi"


def dns_objects(plan: AddressPlan) -> list[dict[str, Any]]:
    """Render the `kube-dns` Service, which leads to the CoreDNS process on the host, and CoreDNS' rights."""
    labels = {"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true"}
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    ]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": labels},
        "spec": {"clusterIP": str(plan.dns_service), "ports": ports},
    }
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kube-dns-host",
            "namespace": "kube-system",
            "labels": {"kubernetes.io/service-name": "kube-dns"},
        },
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": [{"addresses": [str(plan.host)], "conditions": {"ready": True}}],
    }
    reads = ["list", "watch"]
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "system:coredns"},
        "rules": [
            {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": reads},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": reads},
        ],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "system:coredns"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:coredns"}],
    }
    return [service, endpoints, role, binding]


def storage_objects(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Render the default storage class and one volume for each folder of the host, which all nodes see."""
    storage_class = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "reclaimPolicy": "Retain",
        "volumeBindingMode": "Immediate",
    }
    volumes = [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": folder.name},
            "spec": {
                "accessModes": ["ReadWriteMany", "ReadWriteOnce", "ReadOnlyMany"],
                "capacity": {"storage": VOLUME_SIZE},
                "hostPath": {"path": str(folder), "type": "Directory"},
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": STORAGE_CLASS,
            },
        }
        for folder in folders
    ]
    return [storage_class, *volumes]


def volume_folders(parent: Path) -> list[Path]:
    """Make the folders behind the volumes, writable for a pod of any user, and return them."""
    folders = [parent / f"shared-{number}" for number in range(1, VOLUMES + 1)]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
    return folders


def released(volumes: Mapping[str, Any]) -> list[tuple[str, Path]]:
    """Return name and folder of each of our volumes in a list whose claim was deleted."""
    return [
        (one["metadata"]["name"], Path(one["spec"]["hostPath"]["path"]))
        for one in volumes["items"]
        if one["spec"].get("storageClassName") == STORAGE_CLASS
        and one.get("status", {}).get("phase") == "Released"
    ]


def recycle_volumes(kubectl: Kubectl, parent: Path) -> None:
    """Empty the volumes whose claim was deleted and offer them again; no provisioner does it here.

    Only folders below the parent are emptied, whatever a volume says.
    """
    for name, folder in released(kubectl.get("persistentvolumes")):
        if folder.parent == parent:
            for entry in folder.iterdir():
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
            patch = json.dumps([{"op": "remove", "path": "/spec/claimRef"}])
            kubectl("patch", "persistentvolume", name, "--type=json", "-p", patch)
