package main

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/kubectl/pkg/util"
)

type written struct {
	Name  string          `json:"name"`
	Kind  string          `json:"kind"`
	Patch json.RawMessage `json:"patch,omitempty"`
	Error string          `json:"error,omitempty"`
}

// What kubectl apply would send for an object that exists.
func apply(q question) written {
	target, live := object(q.Target), object(q.Live)
	modified, err := util.GetModifiedConfiguration(target, true, unstructured.UnstructuredJSONScheme)
	if err != nil {
		return written{Name: q.Name, Error: err.Error()}
	}
	original, err := util.GetOriginalConfiguration(live)
	check(err)
	current, err := json.Marshal(live.Object)
	check(err)
	typed, err := scheme.Scheme.New(target.GroupVersionKind())
	if err != nil {
		patch, err := jsonmergepatch.CreateThreeWayJSONMergePatch(original, modified, current)
		if err != nil {
			return written{Name: q.Name, Error: err.Error()}
		}
		return written{Name: q.Name, Kind: "merge", Patch: patch}
	}
	meta, err := strategicpatch.NewPatchMetaFromStruct(typed)
	check(err)
	patch, err := strategicpatch.CreateThreeWayMergePatch(original, modified, current, meta, true)
	if err != nil {
		return written{Name: q.Name, Error: err.Error()}
	}
	return written{Name: q.Name, Kind: "strategic", Patch: patch}
}
