"""Paths on the API server."""

from __future__ import annotations

import pytest

from inferfleet.cluster.resources import DEPLOYMENTS, NODES, PODS, resource_of


def test_paths_follow_group_scope_and_subresource():
    assert PODS.path() == "/api/v1/pods"
    assert PODS.path("ns", "a", "status") == "/api/v1/namespaces/ns/pods/a/status"
    assert NODES.path("ignored", "n") == "/api/v1/nodes/n"
    assert DEPLOYMENTS.path("ns") == "/apis/inferfleet.dev/v1alpha1/namespaces/ns/inferencedeployments"


def test_a_kind_that_is_never_rendered_is_refused():
    assert resource_of({"apiVersion": "v1", "kind": "Pod"}) is PODS
    with pytest.raises(KeyError, match="v1 Node"):
        resource_of({"apiVersion": "v1", "kind": "Node"})
