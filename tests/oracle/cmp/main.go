// Argo CD's own side of the plugin protocol, for the tests of ours: its server and its client as they are published.
//
//	cmp serve <directory of plugin.yaml>                      serves below $ARGOCD_PLUGINSOCKFILEPATH until it is stopped
//	cmp generate <repository> <path> <plugin or ""> [k=v …]   finds a plugin there and prints the manifests as a JSON list
//	cmp parameters <repository> <path> <plugin or "">         prints the announcements as JSON
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/argoproj/argo-cd/v3/cmpserver"
	"github.com/argoproj/argo-cd/v3/cmpserver/plugin"
	"github.com/argoproj/argo-cd/v3/util/app/discovery"
	"github.com/argoproj/argo-cd/v3/util/cmp"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("usage: cmp serve|generate|parameters …")
	}
	if args[0] == "serve" {
		config, err := plugin.ReadPluginConfig(args[1])
		if err != nil {
			return err
		}
		server, err := cmpserver.NewServer(plugin.CMPServerInitConstants{PluginConfig: *config})
		if err != nil {
			return err
		}
		server.Run()
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	repository, app, name, env := args[1], filepath.Join(args[1], args[2]), args[3], args[4:]
	closer, client, err := discovery.DetectConfigManagementPlugin(ctx, app, repository, name, env, nil)
	if err != nil {
		return err
	}
	defer closer.Close()
	var answer any
	switch args[0] {
	case "generate":
		stream, err := client.GenerateManifest(ctx)
		if err != nil {
			return err
		}
		if err := cmp.SendRepoStream(ctx, app, repository, stream, env, nil); err != nil {
			return err
		}
		made, err := stream.CloseAndRecv()
		if err != nil {
			return err
		}
		answer = made.Manifests
	case "parameters":
		stream, err := client.GetParametersAnnouncement(ctx)
		if err != nil {
			return err
		}
		if err := cmp.SendRepoStream(ctx, app, repository, stream, env, nil); err != nil {
			return err
		}
		told, err := stream.CloseAndRecv()
		if err != nil {
			return err
		}
		answer = told.ParameterAnnouncements
	default:
		return fmt.Errorf("%s is no command", args[0])
	}
	return json.NewEncoder(os.Stdout).Encode(answer)
}
