"""Names that the operator writes onto its objects: one place, so that writer and reader cannot disagree."""

GROUP = "inferfleet.dev"
VERSION = "v1alpha1"

DEPLOYMENT = f"{GROUP}/deployment"
WORKER = f"{GROUP}/worker"
RANK = f"{GROUP}/rank"
REVISION = f"{GROUP}/revision"
LAYOUT = f"{GROUP}/layout"
POOL = f"{GROUP}/pool"
CAPACITY_TYPE = f"{GROUP}/capacity-type"
ZONE = f"{GROUP}/zone"
COMPONENT = "app.kubernetes.io/component"
MANAGED_BY = "app.kubernetes.io/managed-by"

DRAIN_ANNOTATION = f"{GROUP}/drain"
HASH_ANNOTATION = f"{GROUP}/hash"
WAKE_ANNOTATION = f"{GROUP}/wake"
SERVING_GATE = f"{GROUP}/serving"

KEEP_NODE = {
    "karpenter.sh/do-not-disrupt": "true",
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
}
"""Annotations that keep autoscalers from moving a pod. Interruptions are not held up by them."""

FIELD_MANAGER = "inferfleet"
