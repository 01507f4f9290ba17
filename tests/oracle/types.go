package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"

	"k8s.io/client-go/kubernetes/scheme"
)

// Lines for engine/src/schema/builtin.txt: what the Go types of client-go's scheme say of themselves, and the list
// types that only the API server's OpenAPI v3 documents (a directory of them is the second argument) tell.
func types(out io.Writer) {
	dump := &dumper{out: out, schemas: documents(os.Args[2]), seen: map[reflect.Type]bool{}}
	kinds := scheme.Scheme.AllKnownTypes()
	names := []string{}
	byName := map[string]reflect.Type{}
	for gvk, kind := range kinds {
		meta, ok := kind.FieldByName("ObjectMeta")
		if !ok || gvk.Version == "__internal" || meta.Type.Name() != "ObjectMeta" {
			continue
		}
		name := gvk.Group + "/" + gvk.Version + " " + gvk.Kind
		names = append(names, name)
		byName[name] = kind
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(out, "#kind %s %s\n", name, typeName(byName[name]))
	}
	for _, name := range names {
		dump.visit(byName[name])
	}
	for dumped := 0; dumped < len(dump.queue); dumped++ {
		dump.write(dump.queue[dumped])
	}
}

type schema struct {
	Ref        string            `json:"$ref"`
	AllOf      []schema          `json:"allOf"`
	Properties map[string]schema `json:"properties"`
	ListType   string            `json:"x-kubernetes-list-type"`
	MapKeys    []string          `json:"x-kubernetes-list-map-keys"`
	MapType    string            `json:"x-kubernetes-map-type"`
	Default    any               `json:"default"`
}

func documents(directory string) map[string]schema {
	all := map[string]schema{}
	files, err := filepath.Glob(filepath.Join(directory, "*.json"))
	check(err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		check(err)
		var document struct {
			Components struct {
				Schemas map[string]schema `json:"schemas"`
			} `json:"components"`
		}
		check(json.Unmarshal(text, &document))
		for name, schema := range document.Components.Schemas {
			all[name] = schema
		}
	}
	return all
}

type dumper struct {
	out     io.Writer
	schemas map[string]schema
	seen    map[reflect.Type]bool
	queue   []reflect.Type
}

func typeName(t reflect.Type) string {
	path := strings.TrimPrefix(t.PkgPath(), "k8s.io/api/")
	path = strings.TrimPrefix(path, "k8s.io/apimachinery/pkg/apis/")
	return path + "." + t.Name()
}

func (d *dumper) visit(t reflect.Type) {
	if !d.seen[t] {
		d.seen[t] = true
		d.queue = append(d.queue, t)
	}
}

func (d *dumper) code(t reflect.Type) string {
	switch typeName(t) {
	case "k8s.io/apimachinery/pkg/api/resource.Quantity":
		return "quantity"
	case "k8s.io/apimachinery/pkg/util/intstr.IntOrString":
		return "int-or-string"
	case "meta/v1.Time":
		return "time"
	case "meta/v1.MicroTime":
		return "micro-time"
	case "meta/v1.Duration":
		return "duration"
	case "k8s.io/apimachinery/pkg/runtime.RawExtension", "meta/v1.FieldsV1":
		return "any"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return "*" + d.code(t.Elem())
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "bytes"
		}
		return "[]" + d.code(t.Elem())
	case reflect.Map:
		return "{}" + d.code(t.Elem())
	case reflect.Struct:
		d.visit(t)
		return typeName(t)
	case reflect.Interface:
		return "any"
	default:
		return t.Kind().String()
	}
}

func (d *dumper) write(t reflect.Type) {
	path := strings.ReplaceAll(t.PkgPath(), "/", ".")
	path = "io.k8s." + strings.TrimPrefix(path, "k8s.io.")
	schema, known := d.schemas[path+"."+t.Name()]
	note := ""
	if schema.MapType == "atomic" {
		note = " atomic"
	}
	fmt.Fprintf(d.out, "#type %s%s\n", typeName(t), note)
	d.fields(t, schema, known)
}

func (d *dumper) fields(t reflect.Type, schema schema, known bool) {
	for i := range t.NumField() {
		field := t.Field(i)
		parts := strings.Split(field.Tag.Get("json"), ",")
		name := parts[0]
		if name == "-" || !field.IsExported() {
			continue
		}
		if name == "" && field.Anonymous {
			inner := field.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			d.fields(inner, schema, known)
			continue
		}
		flags := ""
		for _, part := range parts[1:] {
			switch part {
			case "omitempty":
				flags += "?"
			case "omitzero":
				flags += "!"
			}
		}
		line := name + flags + " " + d.code(field.Type)
		if strategy := field.Tag.Get("patchStrategy"); strategy != "" {
			line += " patch=" + strategy
		}
		if key := field.Tag.Get("patchMergeKey"); key != "" {
			line += " key=" + key
		}
		property := schema.Properties[name]
		if property.ListType != "" {
			line += " list=" + property.ListType
		}
		if len(property.MapKeys) > 0 {
			line += " keys=" + strings.Join(property.MapKeys, ",")
		}
		if property.MapType == "atomic" {
			line += " atomic"
		}
		// The zero that openapi-gen gives to each required field is none that anybody declared.
		pointer := field.Type.Kind() == reflect.Pointer
		switch value := property.Default.(type) {
		case string, float64, bool:
			if pointer || !reflect.ValueOf(value).IsZero() {
				text, err := json.Marshal(value)
				check(err)
				line += " default=" + string(text)
			}
		}
		fmt.Fprintln(d.out, line)
	}
}
