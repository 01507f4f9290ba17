// Asks the real thing. Modes: `diff` reads lines of {target, live, predicted?} and prints gitops-engine's verdicts,
// `apply` prints the patch that kubectl apply would send, `fill` prints targets with their defaults, `mutate` prints cases changed by chance, `types` prints what the Go types of Kubernetes know.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"github.com/argoproj/argo-cd/gitops-engine/v3/pkg/diff"
	"github.com/argoproj/argo-cd/gitops-engine/v3/pkg/diff/testdata"
	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/managedfields"
	openapiproto "k8s.io/kube-openapi/pkg/util/proto"
)

type question struct {
	Name      string          `json:"name"`
	Target    json.RawMessage `json:"target"`
	Live      json.RawMessage `json:"live"`
	Predicted json.RawMessage `json:"predicted,omitempty"`
	Options   []string        `json:"options,omitempty"`
}

type answer struct {
	Name           string          `json:"name"`
	Modified       bool            `json:"modified"`
	PredictedLive  json.RawMessage `json:"predictedLive,omitempty"`
	NormalizedLive json.RawMessage `json:"normalizedLive,omitempty"`
	Error          string          `json:"error,omitempty"`
}

type recorded string

func (r recorded) Run(context.Context, *unstructured.Unstructured, string) (string, error) {
	return string(r), nil
}

func parser() *managedfields.GvkParser {
	document := &openapi_v2.Document{}
	check(proto.Unmarshal(testdata.OpenAPIV2Doc, document))
	models, err := openapiproto.NewOpenAPIData(document)
	check(err)
	parser, err := managedfields.NewGVKParser(models, false)
	check(err)
	return parser
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func object(raw json.RawMessage) *unstructured.Unstructured {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	var object unstructured.Unstructured
	check(json.Unmarshal(raw, &object))
	return &object
}

func ask(q question, parser *managedfields.GvkParser) (found answer) {
	defer func() {
		if panicked := recover(); panicked != nil {
			found = answer{Name: q.Name, Error: fmt.Sprint("panic: ", panicked)}
		}
	}()
	options := []diff.Option{diff.WithGVKParser(parser), diff.WithManager("argocd-controller")}
	if len(q.Predicted) > 0 {
		options = append(options, diff.WithServerSideDiff(true), diff.WithServerSideDryRunner(recorded(q.Predicted)))
	}
	for _, option := range q.Options {
		switch option {
		case "IncludeMutationWebhook":
			options = append(options, diff.WithIgnoreMutationWebhook(false))
		case "IgnoreAggregatedRoles":
			options = append(options, diff.IgnoreAggregatedRoles(true))
		}
	}
	result, err := diff.Diff(context.Background(), object(q.Target), object(q.Live), options...)
	if err != nil {
		return answer{Name: q.Name, Error: err.Error()}
	}
	return answer{Name: q.Name, Modified: result.Modified, PredictedLive: result.PredictedLive, NormalizedLive: result.NormalizedLive}
}

func main() {
	mode := "diff"
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	if mode == "types" {
		types(out)
		return
	}
	parser := parser()
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	cases := []question{}
	for lines.Scan() {
		var q question
		check(json.Unmarshal(lines.Bytes(), &q))
		switch mode {
		case "mutate":
			cases = append(cases, q)
		case "apply":
			if object(q.Target) != nil && object(q.Live) != nil {
				check(encoder.Encode(apply(q)))
			}
		case "fill":
			check(encoder.Encode(fill(q.Target)))
		default:
			check(encoder.Encode(ask(q, parser)))
		}
	}
	check(lines.Err())
	if mode == "mutate" {
		count, err := strconv.Atoi(os.Args[2])
		check(err)
		seed, err := strconv.ParseInt(os.Args[3], 10, 64)
		check(err)
		mutate(cases, count, seed, out)
	}
}
