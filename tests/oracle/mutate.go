package main

import (
	"encoding/json"
	"io"
	"math/rand"
	"sort"
)

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// Cases like those of the corpus, but for what chance changed in them.
func mutate(cases []question, count int, seed int64, out io.Writer) {
	chance := rand.New(rand.NewSource(seed))
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	usable := []question{}
	for _, one := range cases {
		if object(one.Target) != nil && object(one.Live) != nil {
			usable = append(usable, one)
			// There are few of these.
			for range 10 {
				if len(one.Predicted) > 0 {
					usable = append(usable, one)
				}
			}
		}
	}
	for n := range count {
		one := usable[chance.Intn(len(usable))]
		target, live := object(one.Target).Object, object(one.Live).Object
		if len(one.Predicted) > 0 {
			mutatePrediction(&one, live, chance)
		}
		for range 1 + chance.Intn(3) {
			change(target, chance)
		}
		if chance.Intn(3) == 0 {
			change(live, chance)
		}
		annotations, _ := live["metadata"].(map[string]any)["annotations"].(map[string]any)
		if text, ok := annotations[lastApplied].(string); ok && chance.Intn(2) == 0 {
			applied := map[string]any{}
			if json.Unmarshal([]byte(text), &applied) == nil {
				change(applied, chance)
				text, err := json.Marshal(applied)
				check(err)
				annotations[lastApplied] = string(text)
			}
		}
		one.Name += " #" + string(rune('a'+n%26))
		var err error
		one.Target, err = json.Marshal(target)
		check(err)
		one.Live, err = json.Marshal(live)
		check(err)
		check(encoder.Encode(one))
	}
}

// The API server's answer, too, and who owns what.
func mutatePrediction(one *question, live map[string]any, chance *rand.Rand) {
	predicted := object(one.Predicted).Object
	for range chance.Intn(3) {
		change(predicted, chance)
	}
	for _, side := range []map[string]any{predicted, live} {
		metadata, _ := side["metadata"].(map[string]any)
		entries, _ := metadata["managedFields"].([]any)
		for _, entry := range entries {
			fields, ok := entry.(map[string]any)["fieldsV1"].(map[string]any)
			if ok && chance.Intn(3) == 0 {
				forget(fields, chance)
			}
		}
	}
	var err error
	one.Predicted, err = json.Marshal(predicted)
	check(err)
}

// Drops one owned field somewhere below.
func forget(fields map[string]any, chance *rand.Rand) {
	keys := []string{}
	for key := range fields {
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return
	}
	sort.Strings(keys)
	key := keys[chance.Intn(len(keys))]
	if below, ok := fields[key].(map[string]any); ok && len(below) > 0 && chance.Intn(4) > 0 {
		forget(below, chance)
		return
	}
	delete(fields, key)
}

// Changes one thing somewhere below.
func change(value any, chance *rand.Rand) {
	switch value := value.(type) {
	case map[string]any:
		keys := []string{}
		for key := range value {
			if key != "apiVersion" && key != "kind" && key != "annotations" && key != "managedFields" {
				keys = append(keys, key)
			}
		}
		if len(keys) == 0 {
			return
		}
		sort.Strings(keys)
		key := keys[chance.Intn(len(keys))]
		inner := value[key]
		_, isMap := inner.(map[string]any)
		_, isList := inner.([]any)
		if key == "metadata" || (isMap || isList) && chance.Intn(6) > 0 {
			if list, ok := inner.([]any); ok && chance.Intn(3) == 0 {
				value[key] = changeList(list, chance)
				return
			}
			change(inner, chance)
			return
		}
		if key == "name" {
			return
		}
		switch chance.Intn(5) {
		case 0:
			delete(value, key)
		case 1:
			value[key] = nil
		case 2:
			value[key] = other(inner, chance)
		case 3:
			value[key+"X"] = inner
		default:
			value[key] = other(inner, chance)
		}
	case []any:
		if len(value) > 0 {
			change(value[chance.Intn(len(value))], chance)
		}
	}
}

func changeList(list []any, chance *rand.Rand) []any {
	if len(list) == 0 {
		return list
	}
	at := chance.Intn(len(list))
	switch chance.Intn(4) {
	case 0:
		return append(append([]any{}, list[:at]...), list[at+1:]...)
	case 1:
		chance.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		return list
	case 2:
		item := copied(list[at])
		if named, ok := item.(map[string]any); ok && chance.Intn(4) > 0 {
			for _, key := range []string{"name", "ip", "containerPort", "port", "path", "key"} {
				if _, ok := named[key]; ok {
					named[key] = other(named[key], chance)
				}
			}
		}
		return append(list, item)
	default:
		return []any{}
	}
}

func other(value any, chance *rand.Rand) any {
	switch value := value.(type) {
	case string:
		return []any{value + "x", "", "x", "latest", "1000m"}[chance.Intn(5)]
	case int64:
		return []any{value + 1, int64(0), float64(value), "1"}[chance.Intn(4)]
	case float64:
		return value + 1
	case bool:
		return !value
	case map[string]any:
		return map[string]any{}
	case []any:
		return []any{}
	}
	return "x"
}

func copied(value any) any {
	text, err := json.Marshal(value)
	check(err)
	var copy any
	check(json.Unmarshal(text, &copy))
	return copy
}
