// A module of its own, so that tests/oracle does not need Argo CD; build.sh writes the requirements.
module takobune.dev/oracle/cmp

go 1.26.0
