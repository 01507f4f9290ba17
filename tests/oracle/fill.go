package main

import (
	"encoding/json"

	gescheme "github.com/argoproj/argo-cd/gitops-engine/v3/pkg/utils/kube/scheme"
	"k8s.io/client-go/kubernetes/scheme"
)

// The target as an API server would store it: decoded by its type, defaults filled in.
func fill(raw json.RawMessage) json.RawMessage {
	target := object(raw)
	typed, err := scheme.Scheme.New(target.GroupVersionKind())
	if err != nil {
		return raw
	}
	check(json.Unmarshal(raw, typed))
	gescheme.Scheme.Default(typed)
	filled, err := json.Marshal(typed)
	check(err)
	return filled
}
