// Records what Kubernetes' own readers make of the trees of ../../corpus/directory, chosen by the rules of Argo CD's
// directory sources: `go run . ../../corpus/directory`. Run by hand when a case is added; its answers are committed.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	"github.com/gobwas/glob"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
)

type rules struct {
	Recurse bool   `json:"recurse"`
	Include string `json:"include"`
	Exclude string `json:"exclude"`
}

var manifest = regexp.MustCompile(`^.*\.(yaml|yml|json)$`)

func main() {
	cases, err := filepath.Glob(filepath.Join(os.Args[1], "*.txt"))
	check(err)
	for _, path := range cases {
		files, said, root := read(path)
		objects, err := objectsOf(files, said, root)
		var answer any = objects
		if err != nil {
			answer = map[string]string{"error": err.Error()}
		}
		text, err := json.MarshalIndent(answer, "", " ")
		check(err)
		check(os.WriteFile(strings.TrimSuffix(path, ".txt")+".json", append(text, '\n'), 0o644))
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// read takes a case apart: its files by path, its rules, and the directory of the source.
func read(path string) (map[string]string, rules, string) {
	text, err := os.ReadFile(path)
	check(err)
	files, said, root, open := map[string]string{}, rules{}, "", ""
	for _, line := range strings.SplitAfter(string(text), "\n") {
		bare := strings.TrimRight(line, " \n")
		switch {
		case strings.HasPrefix(bare, "-- ") && strings.HasSuffix(bare, " --"):
			open = strings.TrimSuffix(strings.TrimPrefix(bare, "-- "), " --")
			files[open] = ""
		case open != "":
			files[open] += line
		case strings.HasPrefix(line, "source: "):
			check(json.Unmarshal([]byte(strings.TrimPrefix(line, "source: ")), &said))
		case strings.HasPrefix(line, "path: "):
			root = strings.TrimPrefix(bare, "path: ") + "/"
		}
	}
	return files, said, root
}

func match(pattern, path string) bool {
	compiled, err := glob.Compile(pattern)
	return err == nil && compiled.Match(path)
}

func objectsOf(files map[string]string, said rules, root string) ([]map[string]any, error) {
	var paths []string
	for path := range files {
		paths = append(paths, path)
	}
	sort.Slice(paths, func(i, j int) bool {
		return strings.ReplaceAll(paths[i], "/", "\x00") < strings.ReplaceAll(paths[j], "/", "\x00")
	})
	objects := []map[string]any{}
	for _, path := range paths {
		below, found := strings.CutPrefix(path, root)
		if !found || !manifest.MatchString(filepath.Base(path)) || (strings.Contains(below, "/") && !said.Recurse) {
			continue
		}
		if said.Exclude != "" && match(said.Exclude, below) || said.Include != "" && !match(said.Include, below) {
			continue
		}
		if strings.Contains(files[path], "+argocd:skip-file-rendering") {
			continue
		}
		read, err := decode(path, files[path])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for _, object := range read {
			if object.IsList() {
				err := object.EachListItem(func(item runtime.Object) error {
					objects = append(objects, item.(*unstructured.Unstructured).Object)
					return nil
				})
				if err != nil {
					return nil, err
				}
				continue
			}
			objects = append(objects, object.Object)
		}
	}
	return objects, nil
}

func decode(path, text string) ([]*unstructured.Unstructured, error) {
	if strings.HasSuffix(path, ".json") {
		var object unstructured.Unstructured
		decoder := json.NewDecoder(strings.NewReader(text))
		if err := decoder.Decode(&object); err != nil {
			return nil, err
		}
		if decoder.More() {
			return nil, errors.New("more than one object")
		}
		return []*unstructured.Unstructured{&object}, nil
	}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader([]byte(text)), 4096)
	var objects []*unstructured.Unstructured
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			like := strings.Contains(text, "apiVersion:") && strings.Contains(text, "kind:") && strings.Contains(text, "metadata:")
			if len(objects) > 0 || like {
				return nil, err
			}
			return nil, nil
		}
		if object != nil {
			objects = append(objects, object)
		}
	}
}
