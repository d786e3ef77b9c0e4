"""What a fresh cluster is given: a node for each server of the catalogue, and disks to claim."""

from typing import Any

from helix.topology.model import MIB_PER_GIB, Server

Object = dict[str, Any]

SERVER_LABEL = "helix/server"
PODS_MAX = 110
VOLUME_GIB = 4096  # larger than the catalogue's largest
STORAGE_CLASS = "standard"


def node(server: Server) -> Object:
    """A node as big as the server; what plays its kubelet keeps it ready."""
    size = {
        "cpu": str(server.cores),
        "memory": f"{int(server.memory_gib * MIB_PER_GIB)}Mi",
        "pods": str(PODS_MAX),
    }
    labels = {"kubernetes.io/hostname": server.name, SERVER_LABEL: server.name}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": server.name, "labels": labels},
        "status": {"capacity": size, "allocatable": size},
    }


def storage_class() -> Object:
    """The default one: its claims wait for their first consumer, as on most real clusters."""
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": STORAGE_CLASS, "annotations": default},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def volume(number: int) -> Object:
    """A disk any claim of that class may have, on whichever node its pod is placed."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"volume-{number}"},
        "spec": {
            "capacity": {"storage": f"{VOLUME_GIB}Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": STORAGE_CLASS,
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": f"/nowhere/volume-{number}"},
        },
    }
