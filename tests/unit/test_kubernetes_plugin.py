"""What the stand-in for the Kubernetes plugin decides, without any cluster."""

import base64
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from pulumi.provider.experimental.property_value import PropertyValue

from helix.errors import InvalidError
from infra.kube.launches import Plan, Tools, api_server, kwok
from infra.provider.values import COMPUTED, plain, wrap_all
from infra.toolchain.plugins.kubernetes import objects, rendering
from infra.toolchain.plugins.kubernetes.kubeconfig import access
from infra.toolchain.plugins.kubernetes.plugin import (
    INPUTS,
    given_before,
    hidden,
    named,
    placed,
    renewed,
    same_name,
    state,
)
from infra.toolchain.plugins.kubernetes.readiness import complaints, standing, stuck
from infra.toolchain.plugins.kubernetes.settings import place, problems, settings
from tests.manifests import VERSIONS, faults

Object = dict[str, Any]


def item(kind: str, version: str = "v1", **more: object) -> Object:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "db"}, **more}


POD_SPEC: Object = {"containers": [{"name": "main", "image": "db:1"}]}
STATEFUL_SET = item(
    "StatefulSet",
    "apps/v1",
    spec={
        "serviceName": "db",
        "replicas": 2,
        "selector": {"matchLabels": {"app": "db"}},
        "template": {"metadata": {"labels": {"app": "db"}}, "spec": POD_SPEC},
    },
)
CONFIG: Object = {
    "current-context": "one",
    "contexts": [
        {"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "mine"}},
        {"name": "two", "context": {"cluster": "c", "user": "plugin"}},
    ],
    "clusters": [{"name": "c", "cluster": {"server": "https://c:6443/"}}],
    "users": [
        {"name": "u", "user": {"token": "t"}},
        {"name": "plugin", "user": {"exec": {"command": "aws"}}},
    ],
}


@pytest.mark.parametrize(
    ("token", "kind", "why"),
    [
        ("kubernetes:helm.sh/v3:Release", "", "Helm"),
        ("kubernetes:kustomize/v2:Directory", "", "Kustomize"),
        ("kubernetes:yaml/v2:ConfigGroup", "", "ConfigGroup"),
        ("kubernetes:apps/v1:DeploymentPatch", "Deployment", "Patch"),
        ("kubernetes:apps/v1:DeploymentList", "DeploymentList", "List"),
        ("kubernetes:apps/v1:Deployment", "", "apiVersion"),
    ],
)
def test_what_is_no_plain_object_is_refused_by_name(token: str, kind: str, why: str) -> None:
    assert why in objects.refused(token, kind)


def test_plain_objects_of_any_group_are_served() -> None:
    assert objects.refused("kubernetes:core/v1:Secret", "Secret") == ""
    assert objects.refused("kubernetes:sample.org/v1:AllowList", "Allow") == ""


def test_an_object_without_a_name_gets_one_and_keeps_it() -> None:
    given = wrap_all({"apiVersion": "v1", "kind": "ConfigMap"})

    first = named(given, {}, fresh="conf-1")
    again = named(given, first, fresh="conf-2")
    anew = named(given, {}, fresh="conf-2")

    assert plain(first["metadata"])["name"] == "conf-1"
    assert plain(again) == plain(first)
    assert plain(anew["metadata"])["name"] == "conf-2"


def test_a_given_name_is_not_kept_once_it_is_taken_away() -> None:
    old = wrap_all(item("ConfigMap"))
    given = wrap_all({"apiVersion": "v1", "kind": "ConfigMap"})

    assert plain(named(given, old, fresh="conf-1")["metadata"])["name"] == "conf-1"


def test_metadata_that_is_not_known_yet_is_left_alone() -> None:
    given = {**wrap_all({"apiVersion": "v1", "kind": "ConfigMap"}), "metadata": COMPUTED}

    assert named(given, {}, fresh="conf-1") == given
    assert placed(given, "mine") == given


@pytest.mark.parametrize(
    ("kind", "version", "namespace"),
    [
        ("ConfigMap", "v1", "mine"),
        ("Ingress", "networking.k8s.io/v1", "mine"),
        ("Namespace", "v1", None),
        ("ClusterRole", "rbac.authorization.k8s.io/v1", None),
        ("Thing", "sample.org/v1", None),  # only the cluster can tell
    ],
)
def test_the_providers_namespace_goes_where_one_is_needed(
    kind: str, version: str, namespace: str | None
) -> None:
    found = plain(placed(wrap_all(item(kind, version)), "mine"))

    assert found["metadata"].get("namespace") == namespace


def test_a_secrets_text_is_applied_as_base64_data() -> None:
    given = item("Secret", stringData={"password": "hush"}, data={"other": "eA=="}, status=None)

    found = objects.manifest(given)

    encoded = base64.b64encode(b"hush").decode()
    assert found == item("Secret", data={"other": "eA==", "password": encoded})


def test_a_secrets_content_is_secret_though_nobody_marked_it() -> None:
    given = hidden(wrap_all(item("Secret", stringData={"password": "hush"})))
    live = item("Secret", data={"password": "aHVzaA=="})

    kept = state(given, live)

    assert given["stringData"].is_secret
    assert kept["data"].is_secret
    assert kept[INPUTS].contains_secret()
    assert given_before(kept)["stringData"].is_secret


def test_a_secret_anywhere_hides_what_the_server_answers_for_it() -> None:
    spec = PropertyValue({"password": PropertyValue("hush", is_secret=True)})
    given = {**wrap_all(item("Thing")), "spec": spec}

    kept = state(given, item("Thing", spec={"password": "hush", "more": 1}))

    assert kept["spec"].is_secret
    assert not kept["kind"].is_secret


def test_defaults_and_fields_of_others_are_no_drift() -> None:
    server = {**STATEFUL_SET["spec"], "podManagementPolicy": "OrderedReady"}
    live = {**STATEFUL_SET, "spec": server, "status": {"replicas": 2}}

    assert objects.observed(STATEFUL_SET, live, live) == STATEFUL_SET


def test_drift_shows_exactly_the_field_that_was_changed() -> None:
    wanted = {**STATEFUL_SET, "spec": {**STATEFUL_SET["spec"], "podManagementPolicy": "Parallel"}}
    live = {**wanted, "spec": {**wanted["spec"], "replicas": 5}}

    seen = objects.observed(STATEFUL_SET, live, wanted)

    assert seen == {**STATEFUL_SET, "spec": {**STATEFUL_SET["spec"], "replicas": 5}}


def test_a_field_taken_away_behind_our_back_is_drift() -> None:
    given = item("ConfigMap", data={"a": "1", "b": "2"})

    seen = objects.observed(given, item("ConfigMap", data={"a": "1"}), given)

    assert seen["data"] == {"a": "1"}


def test_a_changed_secret_is_drift_of_its_text() -> None:
    given = item("Secret", stringData={"password": "hush"})
    live = item("Secret", data={"password": base64.b64encode(b"loud").decode()})

    seen = objects.observed(given, live, objects.manifest(given))

    assert seen["stringData"] == {"password": "loud"}


def test_inputs_that_did_not_change_stay_the_very_values() -> None:
    given = hidden(wrap_all(item("Secret", stringData={"password": "hush"}, type="Opaque")))

    now = renewed(given, {**plain(given), "stringData": {"password": "loud"}})

    assert now["type"] is given["type"]
    assert now["stringData"].is_secret


def test_what_the_server_never_changes_makes_another_object() -> None:
    assert "spec.volumeClaimTemplates" in objects.fixed(STATEFUL_SET)
    assert "spec.template" in objects.fixed(item("Job", "batch/v1"))
    assert "spec.template" not in objects.fixed(STATEFUL_SET)


def test_content_is_replaced_unless_the_provider_says_it_is_mutable() -> None:
    assert "data" in objects.fixed(item("ConfigMap"))
    assert "data" not in objects.fixed(item("ConfigMap"), mutable=("ConfigMap",))
    assert "data" in objects.fixed(item("ConfigMap", immutable=True), mutable=("ConfigMap",))


def test_of_two_objects_with_one_name_the_old_one_goes_first() -> None:
    renamed = {**STATEFUL_SET, "metadata": {"name": "db-2"}}

    assert same_name(STATEFUL_SET, STATEFUL_SET)
    assert not same_name(STATEFUL_SET, renamed)


def workload(kind: str, spec: Object, status: Object) -> Object:
    made = item(kind, "apps/v1", spec=spec, status={"observedGeneration": 2, **status})
    return {**made, "metadata": {"name": "db", "generation": 2}}


def counts(ready: int, updated: int, total: int) -> Object:
    return {
        "readyReplicas": ready,
        "availableReplicas": ready,
        "updatedReplicas": updated,
        "replicas": total,
    }


@pytest.mark.parametrize(
    ("live", "ready"),
    [
        (workload("StatefulSet", {"replicas": 2}, counts(2, 2, 2)), True),
        (workload("StatefulSet", {"replicas": 2}, counts(2, 1, 2)), False),
        (workload("StatefulSet", {"replicas": 2}, counts(1, 2, 2)), False),
        (workload("StatefulSet", {"replicas": 0}, {}), True),
        (workload("Deployment", {"replicas": 1}, counts(1, 1, 1)), True),
        (workload("Deployment", {"replicas": 1}, counts(2, 1, 2)), False),  # an old one is left
        (workload("Deployment", {"replicas": 1}, {"observedGeneration": 1}), False),
        (item("Job", status={"conditions": [{"type": "Complete", "status": "True"}]}), True),
        (item("Job", spec={"suspend": True}), True),
        (item("Job", status={"active": 1}), False),
        (item("Pod", status={"phase": "Succeeded"}), True),
        (item("Pod", status={"phase": "Running"}), False),
        (item("PersistentVolumeClaim", status={"phase": "Bound"}), True),
        (item("ConfigMap"), True),
    ],
)
def test_an_object_is_ready_when_all_of_it_works(live: Object, ready: bool) -> None:
    assert standing(live).ready is ready


def test_a_partitioned_rollout_is_done_when_its_part_is() -> None:
    strategy = {"rollingUpdate": {"partition": 1}}
    live = workload("StatefulSet", {"replicas": 2, "updateStrategy": strategy}, counts(2, 1, 2))

    assert standing(live).ready


def test_a_deployment_past_its_deadline_has_failed() -> None:
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    now = standing(workload("Deployment", {"replicas": 1}, {"conditions": [late]}))

    assert now.failed
    assert "ProgressDeadlineExceeded" in now.text


def test_a_failed_job_says_why() -> None:
    failed = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "x"}
    now = standing(item("Job", "batch/v1", status={"conditions": [failed]}))

    assert now.failed
    assert now.text == "failed: BackoffLimitExceeded: x"


def test_a_pod_that_does_not_work_is_told_with_container_and_last_event() -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    status = {"phase": "Pending", "containerStatuses": [{"name": "main", "state": waiting}]}
    event = {"type": "Warning", "reason": "Failed", "message": "to pull", "lastTimestamp": "2"}
    older = {"type": "Warning", "reason": "Older", "lastTimestamp": "1"}

    told = complaints([item("Pod", status=status)], {"db": [event, older]})

    waits = "container `main` waits: ImagePullBackOff: no such image"
    assert told == [f"pod `db` is Pending: {waits}; last event Failed: to pull"]


def test_a_broken_pod_of_a_former_revision_is_named() -> None:
    pod = item("Pod", status={"phase": "Pending"})
    old = {**pod, "metadata": {"name": "db-0", "labels": {"controller-revision-hash": "a"}}}
    live = {**STATEFUL_SET, "status": {"updateRevision": "b"}}

    assert "`db-0`" in stuck(live, [old])[0]
    assert stuck({**live, "status": {"updateRevision": "a"}}, [old]) == []


def test_a_kubeconfig_is_read_by_context() -> None:
    found = access(yaml.safe_dump(CONFIG))

    assert (found.server, found.token, found.namespace) == ("https://c:6443", "t", "mine")


@pytest.mark.parametrize(
    ("text", "context", "why"),
    [
        (yaml.safe_dump(CONFIG), "two", "`exec`"),
        (yaml.safe_dump(CONFIG), "three", "no context `three`"),
        ("/nowhere/config", "", "/nowhere/config"),
        ("a: [\n", "", "cannot be used"),
        ("kind: Config\n\n", "", "cannot be used"),
    ],
)
def test_a_kubeconfig_that_cannot_work_says_why(text: str, context: str, why: str) -> None:
    with pytest.raises(InvalidError, match=why):
        access(text, context)


def test_settings_that_are_not_served_are_refused_by_name() -> None:
    given = {"kubeconfig": "x", "enableServerSideApply": "false", "helmReleaseSettings": "{}"}

    assert problems(given).keys() == {"enableServerSideApply", "helmReleaseSettings"}
    assert problems({"namespace": "mine", "version": "4.34.2"}) == {}


def test_settings_arrive_as_json_text() -> None:
    assert settings({"enableSecretMutable": "true"}).mutable == ("Secret",)


def test_new_credentials_are_no_other_cluster() -> None:
    renewed_config = {**CONFIG, "users": [{"name": "u", "user": {"token": "new"}}]}
    old, new = (settings({"kubeconfig": yaml.safe_dump(text)}) for text in (CONFIG, renewed_config))

    assert place(old) == place(new)
    assert place(old) != place(settings({"renderYamlToDirectory": "/tmp/a"}))


def test_a_rendered_secret_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    rendering.write(tmp_path, item("Secret", data={"a": "eA=="}), private=True)
    rendering.write(tmp_path, STATEFUL_SET, private=False)

    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.rglob("*.yaml")}
    assert modes == {"v1-secret-db.yaml": 0o600, "apps_v1-statefulset-db.yaml": 0o644}
    assert rendering.read(tmp_path, STATEFUL_SET) == STATEFUL_SET


def test_two_clusters_share_no_port_and_no_secret_is_an_argument() -> None:
    tools = Tools(kubebox="/bin/kubebox", kwok="/bin/kwok", stages=("/a.yaml",))
    first, second = (Plan(home="/h", tools=tools, offset=offset) for offset in (0, 10))

    assert api_server(first).check.port != api_server(second).check.port
    assert not [word for word in (*api_server(first).argv, *kwok(first).argv) if "secret" in word]


def test_a_sound_manifest_has_no_fault() -> None:
    assert faults(STATEFUL_SET) == []


def test_a_fault_names_version_object_and_place() -> None:
    misspelt = {**STATEFUL_SET, "spec": {**STATEFUL_SET["spec"], "servicename": "db"}}
    mistyped = {**STATEFUL_SET, "spec": {**STATEFUL_SET["spec"], "replicas": "2"}}

    assert len(faults(misspelt)) == len(VERSIONS)
    assert "servicename" in faults(misspelt)[0]
    assert faults(mistyped)[0].startswith(
        "Kubernetes 1.35 refuses StatefulSet `db` at `spec.replicas`"
    )


def test_a_version_that_is_not_served_any_more_is_a_fault() -> None:
    assert faults({**STATEFUL_SET, "apiVersion": "apps/v1beta1"})[0] == (
        "Kubernetes 1.35 has no StatefulSet of `apps/v1beta1`, which `db` is"
    )
