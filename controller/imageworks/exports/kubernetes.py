"""Objects for Kubernetes: what runs the controller on nodes, KServe's cached models, OME's models. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from imageworks.exports.model import ExportedModel, label_of

APP: Final = "imageworks-models"
HOME: Final = "/var/lib/imageworks"
GIB: Final = 1 << 30
USER: Final = 1000
"""Who runs in the image of our Dockerfile."""
OPEN: Final = """\
if ! test -d "$IMAGEWORKS_REGISTRY_DIR/.git"; then
  rm -rf "$IMAGEWORKS_REGISTRY_DIR.arriving"
  git -c credential.helper='!f() {
    case "$1 $IMAGEWORKS_REMOTE $IMAGEWORKS_GIT_TOKEN" in
      "get https://"*" "?*) echo username=x-access-token; echo "password=$IMAGEWORKS_GIT_TOKEN";;
    esac
  }; f' clone -- "$IMAGEWORKS_REMOTE" "$IMAGEWORKS_REGISTRY_DIR.arriving"
  mv "$IMAGEWORKS_REGISTRY_DIR.arriving" "$IMAGEWORKS_REGISTRY_DIR"
fi
exec imageworks-models "$@"
"""
"""What a container runs; all values come as variables and arguments, none is written into it."""
HAND_OVER: Final = 'test "$(stat -c %u "$1")" != 0 || chown "$2" "$1"\n'
"""Gives a node's folder that the kubelet made, and that is root's for that, to whom the controller runs as."""


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """What objects for a cluster are made with.

    Args:
        remote: Where the registry is cloned from.
        image: The image with this program in it.
        namespace: The namespace of all objects.
        path: The folder of each node that holds models; not used with a claim.
        claim: A persistent volume claim to use instead; empty for the node's folder.
        secret: The secret with ``HF_TOKEN`` and ``IMAGEWORKS_GIT_TOKEN``; both may be absent in it.
        selector: Labels of the nodes that models are brought to.
        interval: How often a DaemonSet looks for changes, as ``15m``.
        schedule: When a CronJob runs.
        revision: The commit that a Job is for; it stands in the Job's name.
    """

    remote: str
    image: str
    namespace: str = "default"
    path: str = HOME
    claim: str = ""
    secret: str = "imageworks-tokens"  # noqa: S105 # the name of one
    selector: Mapping[str, str] = field(default_factory=dict)
    interval: str = "15m"
    schedule: str = "*/15 * * * *"
    revision: str = ""


def daemon_set(options: ClusterOptions) -> dict[str, object]:
    """Return what keeps each selected node as declared."""
    words = ("reconcile", "--watch", "--yes", "--interval", options.interval, "--report")
    labels = {"app.kubernetes.io/name": APP}
    pod = {"metadata": {"labels": labels}, "spec": _pod(options, words, restart="Always")}
    spec = {"selector": {"matchLabels": labels}, "template": pod}
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": _metadata(options, APP), "spec": spec}


def job(options: ClusterOptions) -> dict[str, object]:
    """Return what brings one node to the newest commit once."""
    name = label_of(f"{APP}-run", options.revision)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(options, name),
        "spec": _job_spec(options),
    }


def cron_job(options: ClusterOptions) -> dict[str, object]:
    """Return what brings one node to the newest commit again and again."""
    spec = {"schedule": options.schedule, "concurrencyPolicy": "Forbid", "jobTemplate": {"spec": _job_spec(options)}}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": _metadata(options, APP), "spec": spec}


def _job_spec(options: ClusterOptions) -> dict[str, object]:
    words = ("reconcile", "--yes", "--pull", "--push", "--report", "--no-progress")
    return {"backoffLimit": 3, "template": {"spec": _pod(options, words, restart="Never")}}


def _metadata(options: ClusterOptions, name: str) -> dict[str, object]:
    return {"name": name, "namespace": options.namespace, "labels": {"app.kubernetes.io/name": APP}}


def _pod(options: ClusterOptions, words: Sequence[str], *, restart: str) -> dict[str, object]:
    environment: list[dict[str, object]] = [
        {"name": "IMAGEWORKS_HOST", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "IMAGEWORKS_REMOTE", "value": _literal(options.remote)},
        {"name": "IMAGEWORKS_REGISTRY_DIR", "value": f"{HOME}/registry"},
        {"name": "IMAGEWORKS_MODEL_ROOT", "value": f"{HOME}/weights"},
        {"name": "IMAGEWORKS_STATE_DIR", "value": f"{HOME}/state"},
        {"name": "IMAGEWORKS_CACHE_DIR", "value": f"{HOME}/cache"},
    ]
    environment += [
        {
            "name": name,
            "valueFrom": {"secretKeyRef": {"name": options.secret, "key": name, "optional": True}},
        }
        for name in ("HF_TOKEN", "IMAGEWORKS_GIT_TOKEN")
    ]
    volume: dict[str, object] = (
        {"persistentVolumeClaim": {"claimName": options.claim}}
        if options.claim
        else {"hostPath": {"path": options.path, "type": "DirectoryOrCreate"}}
    )
    models = [{"name": "models", "mountPath": HOME}]
    container = {
        "name": "controller",
        "image": options.image,
        "command": ["/bin/sh", "-euc", _literal(OPEN), "imageworks-models"],
        "args": [_literal(word) for word in words],
        "env": environment,
        "volumeMounts": models,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    hand_over = {
        "name": "folder",
        "image": options.image,
        "command": ["/bin/sh", "-euc", _literal(HAND_OVER), "folder", HOME, f"{USER}:{USER}"],
        "volumeMounts": models,
        "securityContext": {
            "runAsUser": 0,
            "runAsNonRoot": False,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]},
        },
    }
    spec: dict[str, object] = {
        "restartPolicy": restart,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsUser": USER,
            "runAsGroup": USER,
            "runAsNonRoot": True,
            "fsGroup": USER,  # for claims; no node's folder is changed by it
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [] if options.claim else [hand_over],
        "containers": [container],
        "volumes": [{"name": "models", **volume}],
        "nodeSelector": dict(options.selector),
    }
    return {key: value for key, value in spec.items() if value or value is False}


def _literal(value: str) -> str:
    """Return a text in which Kubernetes expands nothing: it replaces ``$(NAME)`` in commands and variables."""
    return value.replace("$(", "$$(")


def local_model_cache(model: ExportedModel, groups: Sequence[str]) -> dict[str, object]:
    """Return KServe's cached model of one commit; its address cannot change later, so the commit is in the name."""
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "LocalModelCache",
        "metadata": {"name": label_of(model.name, model.revision), "labels": {"app.kubernetes.io/managed-by": APP}},
        "spec": {
            "sourceModelUri": f"hf://{model.repo}:{model.revision}",
            "modelSize": f"{max(-(-model.size // GIB), 1)}Gi",
            "nodeGroups": list(groups),
        },
    }


def node_group(name: str, options: ClusterOptions, *, limit: str) -> dict[str, object]:
    """Return KServe's group of nodes that cache models in a folder of theirs."""
    wanted = options.selector or {"kubernetes.io/os": "linux"}
    terms = [{"key": key, "operator": "In", "values": [value]} for key, value in sorted(wanted.items())]
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "LocalModelNodeGroup",
        "metadata": {"name": name},
        "spec": {
            "storageLimit": limit,
            "persistentVolumeClaimSpec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": limit}},
                "storageClassName": "local-storage",
                "volumeMode": "Filesystem",
                "volumeName": name,
            },
            "persistentVolumeSpec": {
                "accessModes": ["ReadWriteOnce"],
                "volumeMode": "Filesystem",
                "capacity": {"storage": limit},
                "local": {"path": options.path},
                "storageClassName": "local-storage",
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": terms}]}},
            },
        },
    }


def cluster_base_model(model: ExportedModel, options: ClusterOptions) -> dict[str, object]:
    """Return OME's model of a folder that this program brings to its nodes; OME never deletes what is local."""
    storage: dict[str, object] = {"storageUri": f"local://{model.path}", "path": model.path}
    if options.selector:
        storage["nodeSelector"] = dict(options.selector)
    annotations = {"imageworks/revision": model.revision, "imageworks/sha256": model.sha256}
    return {
        "apiVersion": "ome.io/v1beta1",
        "kind": "ClusterBaseModel",
        "metadata": {
            "name": label_of(model.name),
            "annotations": {key: value for key, value in annotations.items() if value},
        },
        "spec": {"storage": storage},
    }
