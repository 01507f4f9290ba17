#!/usr/bin/env bash
# Makes the encrypted files of this directory anew, with the real programs. Needs sops and age-keygen in PATH (README.md).
set -euo pipefail
cd "$(dirname "$0")"
rm -f ./*.yaml ./*.json ./*.agekey
age-keygen -o main.agekey; age-keygen -o other.agekey
main=$(age-keygen -y main.agekey) other=$(age-keygen -y other.agekey)
seal() { # seal <result> <plain file> <options>
  local result=$1 plain=plain/$2; shift 2
  SOPS_CONFIG=/dev/null sops --encrypt --age "$main" "$@" "$plain" > "$result"
}
data='^(data|stringData)$'
seal secret.yaml secret.yaml --encrypted-regex "$data"
seal only.yaml secret.yaml --encrypted-regex "$data" --mac-only-encrypted
seal many.yaml many.yaml --encrypted-regex "$data"
seal secret.json secret.json --encrypted-regex "$data"
seal all.json secret.json
seal values.yaml values.yaml
seal suffix.yaml values.yaml --encrypted-suffix pass
seal unregex.yaml values.yaml --unencrypted-regex '^(list|public)'
seal comments.yaml secret.yaml --encrypted-comment-regex inside
SOPS_CONFIG=/dev/null sops --encrypt --age "$other,$main" --encrypted-regex "$data" plain/secret.yaml > two.yaml
SOPS_CONFIG=/dev/null sops --encrypt --age "$other" --encrypted-regex "$data" plain/secret.yaml > stranger.yaml
cat > /tmp/sops-groups.$$ <<G
creation_rules:
  - shamir_threshold: 2
    key_groups:
      - age: [$main]
      - age: [$other]
G
sops --config /tmp/sops-groups.$$ --encrypt plain/secret.yaml > groups.yaml
rm /tmp/sops-groups.$$
# What the real program makes of them, for comparison.
mkdir -p decrypted
for file in ./*.yaml ./*.json; do
  [ "$file" = ./stranger.yaml ] && continue
  SOPS_AGE_KEY="$(cat main.agekey other.agekey)" sops --decrypt "$file" > "decrypted/$file"
done
