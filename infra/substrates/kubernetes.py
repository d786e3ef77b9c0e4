"""Kubernetes: one workload an instance, in one namespace of any conformant cluster."""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pulumi
import pulumi_kubernetes as k8s

from helix.topology.model import Service
from infra.composition import hosted_stack
from infra.launch import Address
from infra.policies import violations
from infra.provider.secrets import resolve
from infra.substrates import manifests
from infra.substrates.containers import Container, containers, job
from infra.substrates.hosted import Hosted
from infra.substrates.manifests import ROLLOUT_S_MAX, Manifest, Namespace
from infra.substrates.wanted import Wanted

Lookup = Callable[[str], str]

WAIT = f"{ROLLOUT_S_MAX}s"
PATIENT = pulumi.CustomTimeouts(create=WAIT, update=WAIT, delete=WAIT)
KINDS: dict[tuple[str, str], Callable[..., pulumi.Resource]] = {
    ("v1", "Namespace"): k8s.core.v1.Namespace,
    ("v1", "ConfigMap"): k8s.core.v1.ConfigMap,
    ("v1", "Secret"): k8s.core.v1.Secret,
    ("v1", "Service"): k8s.core.v1.Service,
    ("apps/v1", "StatefulSet"): k8s.apps.v1.StatefulSet,
    ("apps/v1", "Deployment"): k8s.apps.v1.Deployment,
    ("batch/v1", "Job"): k8s.batch.v1.Job,
    ("policy/v1", "PodDisruptionBudget"): k8s.policy.v1.PodDisruptionBudget,
    ("networking.k8s.io/v1", "NetworkPolicy"): k8s.networking.v1.NetworkPolicy,
    ("networking.k8s.io/v1", "Ingress"): k8s.networking.v1.Ingress,
    ("autoscaling/v2", "HorizontalPodAutoscaler"): k8s.autoscaling.v2.HorizontalPodAutoscaler,
}


def compose(settings: Wanted, env: Mapping[str, str], stack: str) -> "Kubernetes":
    """The cluster that the configuration names."""
    here, lookup, formed = hosted_stack(settings, env, stack)
    return Kubernetes(here, settings, lookup, formed=formed)


class Kubernetes:
    """Renders manifests, and applies them on the server's side."""

    def __init__(self, site: Hosted, settings: Wanted, lookup: Lookup, *, formed: Path) -> None:
        self.site = site
        self._where = Namespace(name=settings.namespace, stack=site.stack, ingress=settings.ingress)
        self._lookup = lookup
        self._formed = formed
        self._real = not (settings.render or pulumi.runtime.is_dry_run())
        self._cluster = k8s.Provider(
            "cluster",
            # As a text it holds the cluster's own credentials.
            kubeconfig=pulumi.Output.secret(settings.kubeconfig) if settings.kubeconfig else None,
            context=settings.context or None,
            render_yaml_to_directory=settings.render or None,
            enable_server_side_apply=True,
            # A checksum in the pods' template rolls them; their files are changed where they are.
            enable_config_map_mutable=True,
            enable_secret_mutable=True,
            # What an interrupted `up` has made, and the namespace that is kept, are taken over.
            upsert_existing_objects=True,
        )
        self._shared = [self._apply(one, ()) for one in manifests.shared(self._where)]

    def faults(self, services: Sequence[Service]) -> list[str]:
        """Policies that a container breaks; how much room there is, the scheduler says."""
        return violations(one for service in services for one in self.render(service))

    def render(self, service: Service) -> tuple[Container, ...]:
        """The containers of the service."""
        return containers(self.site, service)

    def address(self, service: str, port: str) -> Address:
        """The name of its Service."""
        return self.site.address(service, port)

    def place(self, service: Service, after: Sequence[pulumi.Resource]) -> list[pulumi.Resource]:
        """Its workloads: side by side the first time, later one after another."""
        instances, placed = self.render(service), list[pulumi.Resource]()
        rolling = self._formed.exists()
        for one in instances:
            before = [*after, *placed] if rolling else after
            rendered = manifests.of_instance(self._where, one, self._fingerprint(one))
            placed.extend(self._all(rendered, before))
        return [*placed, *self._all(manifests.of_service(self._where, service, instances), after)]

    def bootstrap(self, after: Sequence[pulumi.Resource]) -> pulumi.Resource:
        """A Job; `formed` says from then on that the stack has run."""
        one = job(self.site)
        *_, made = self._all(manifests.task(self._where, one, self._fingerprint(one)), after)
        if self._real:
            made.urn.apply(lambda _: self._formed.touch())
        return made

    def _fingerprint(self, one: Container) -> str:
        """Of the secrets it reads: a new certificate is a change like any other."""
        held = {**one.private, **one.launch.binaries}
        texts = [resolve(held[path], self._lookup) for path in sorted(held)]
        return hashlib.sha256("\0".join(texts).encode()).hexdigest()

    def _all(
        self, rendered: Sequence[Manifest], after: Sequence[pulumi.Resource]
    ) -> list[pulumi.Resource]:
        """Each after those before it: a workload finds its configuration there."""
        placed: list[pulumi.Resource] = []
        for manifest in rendered:
            placed.append(self._apply(manifest, [*self._shared, *after, *placed]))
        return placed

    def _apply(self, manifest: Manifest, after: Sequence[pulumi.Resource]) -> pulumi.Resource:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        body = {key: value for key, value in manifest.items() if key not in {"apiVersion", "kind"}}
        if kind == "Secret":
            body = body | {"data": self._encoded(body)}
            body.pop("stringData")
        return KINDS[manifest["apiVersion"], kind](
            f"{name}-{kind.lower()}",
            **body,
            opts=pulumi.ResourceOptions(
                provider=self._cluster,
                depends_on=list(after),
                custom_timeouts=PATIENT,
                # The claims are in it, and with them the data.
                retain_on_delete=kind == "Namespace",
            ),
        )

    def _encoded(self, body: Manifest) -> pulumi.Output[dict[str, str]]:
        """The values with their secrets in place: encrypted in Pulumi's state."""
        texts = {key: resolve(text, self._lookup) for key, text in body["stringData"].items()}
        binaries = {key: resolve(text, self._lookup) for key, text in body["data"].items()}
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
        return pulumi.Output.secret(encoded | binaries)
