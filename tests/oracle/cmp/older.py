"""Writes Argo CD's sources, which are in Go 1.27, in Go 1.26: the fields of an embedded struct in a literal of the outer one."""
import pathlib
import re
import sys

LITERAL = re.compile(
    r"(\bcorev1\.(?:Secret|ConfigMap|ServiceAccount|Namespace|Event)\{)\n"
    r"((?:\t+(?:Name|Namespace|Labels|Annotations|GenerateName):[^\n]*,\n)+)"
)
META = '"k8s.io/apimachinery/pkg/apis/meta/v1"'

for path in pathlib.Path(sys.argv[1]).rglob("*.go"):
    text = path.read_text()
    older = LITERAL.sub(r"\1\nObjectMeta: metav1.ObjectMeta{\n\2},\n", text)
    if older == text:
        continue
    if META not in older:
        older = older.replace("import (\n", f"import (\n\tmetav1 {META}\n", 1)
    path.write_text(older)
