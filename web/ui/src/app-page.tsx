// One Application: status bar, conditions, commands, resource tree. Live.
import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { Badge } from "./badges.tsx";
import { api, state, watch } from "./live.ts";
import { type ResourceStatus, type TreeNode, layout } from "./model.ts";
import { texts } from "./texts.ts";

const WIDTH = 230;
const HEIGHT = 62;
const GAP_X = 56;
const GAP_Y = 14;

function statusOf(node: TreeNode, resources: ResourceStatus[]): ResourceStatus | undefined {
  return resources.find(
    (one) =>
      one.kind === node.kind &&
      one.name === node.name &&
      (one.group ?? "") === (node.group ?? "") &&
      (one.namespace ?? "") === (node.namespace ?? ""),
  );
}

function Node({ node, x, y, sync }: { node: TreeNode; x: number; y: number; sync: string }) {
  const health = node.health?.status ?? "";
  const ready = node.info?.find((item) => item.name === "Containers" || item.name === "Revision")?.value ?? "";
  const title = [node.kind, node.name, health, sync, node.health?.message].filter(Boolean).join(" · ");
  return (
    <g
      transform={`translate(${x} ${y})`}
      class={`node ${health}`}
      tabIndex={0}
      role="treeitem"
      aria-label={title}
      data-testid="tree-node"
      data-kind={node.kind}
      data-name={node.name}
      data-health={health}
      data-sync={sync}
    >
      <title>{title}</title>
      <rect width={WIDTH} height={HEIGHT} rx="7" />
      <rect class="stripe" width="4" height={HEIGHT} rx="2" />
      <text x="16" y="20" class="kind">
        {node.kind}
      </text>
      <text x="16" y="39" class="title">
        {node.name.length > 27 ? `${node.name.slice(0, 26)}…` : node.name}
      </text>
      <text x="16" y="55" class="note">
        {[health, sync, ready].filter(Boolean).join(" · ")}
      </text>
    </g>
  );
}

function Tree({ nodes, resources }: { nodes: TreeNode[]; resources: ResourceStatus[] }) {
  const plan = useMemo(() => layout(nodes), [nodes]);
  const x = (column: number) => column * (WIDTH + GAP_X) + 2;
  const y = (row: number) => row * (HEIGHT + GAP_Y) + 2;
  if (!nodes.length) return <p class="quiet">{texts.noResources}</p>;
  return (
    <>
      <ul class="branches" aria-label={texts.tree}>
        {plan.placed.map((one) => (
          <li key={one.node.uid} class={`depth-${Math.min(one.x, 5)} node ${one.node.health?.status ?? ""}`}>
            <small>{one.node.kind}</small> <strong>{one.node.name}</strong>{" "}
            <small>{[one.node.health?.status, statusOf(one.node, resources)?.status].filter(Boolean).join(" · ")}</small>
          </li>
        ))}
      </ul>
      <div class="tree">
        <svg width={x(plan.columns) - GAP_X + 4} height={y(plan.rows) + 4} role="tree" aria-label={texts.tree}>
          {plan.links.map(([from, to]) => {
            const [x1, y1, x2, y2] = [x(from.x) + WIDTH, y(from.y) + HEIGHT / 2, x(to.x), y(to.y) + HEIGHT / 2];
            return <path key={to.node.uid} class="link" d={`M${x1} ${y1}C${x1 + GAP_X / 2} ${y1} ${x2 - GAP_X / 2} ${y2} ${x2} ${y2}`} />;
          })}
          {plan.placed.map((one) => (
            <Node key={one.node.uid} node={one.node} x={x(one.x)} y={y(one.y)} sync={statusOf(one.node, resources)?.status ?? ""} />
          ))}
        </svg>
      </div>
    </>
  );
}

export function AppPage({ id }: { id: string }) {
  const problem = useSignal("");
  useEffect(() => {
    watch(id);
    return () => {
      watch("");
    };
  }, [id]);
  const app = state.value.apps.get(id);
  if (!app) return <p class="quiet">{state.value.loaded ? texts.gone : texts.loading}</p>;
  const name = encodeURIComponent(app.name);
  const query = `appNamespace=${encodeURIComponent(app.namespace)}`;
  const ask = async (path: string, init?: RequestInit) => {
    try {
      const answer = await api(path, init);
      problem.value = answer.ok ? "" : (((await answer.json()) as { message?: string }).message ?? answer.statusText);
    } catch {
      problem.value = texts.unreachable;
    }
  };
  const nodes = state.value.trees.get(id) ?? [];
  const resources = state.value.details.get(id)?.status?.resources ?? [];
  return (
    <>
      <nav class="bar">
        <a href="#">← {texts.back}</a>
        <h1 data-testid="app-title">{app.name}</h1>
        <span class="grow" />
        <button class="main" onClick={() => void ask(`applications/${name}/sync?${query}`, { method: "POST", body: "{}" })}>
          {texts.syncNow}
        </button>
        <button onClick={() => void ask(`applications/${name}?refresh=normal&${query}`)}>{texts.refresh}</button>
        <button onClick={() => void ask(`applications/${name}?refresh=hard&${query}`)}>{texts.hardRefresh}</button>
      </nav>
      <dl class="facts" data-testid="app-status" data-sync={app.sync} data-health={app.health} data-revision={app.revision}>
        <div>
          <dt>{texts.health}</dt>
          <dd>
            <Badge value={app.health} />
          </dd>
        </div>
        <div>
          <dt>{texts.sync}</dt>
          <dd>
            <Badge value={app.sync} /> <small>{app.autoSync ? texts.automated : texts.manual}</small>
          </dd>
        </div>
        <div>
          <dt>{texts.revision}</dt>
          <dd>
            <code>{app.revision.slice(0, 7)}</code> <small>{app.targetRevision || "HEAD"}</small>
          </dd>
        </div>
        <div>
          <dt>{texts.source}</dt>
          <dd class="path">
            {app.path} <small>{app.repo}</small>
          </dd>
        </div>
        <div>
          <dt>{texts.destination}</dt>
          <dd class="path">{app.destNamespace}</dd>
        </div>
        <div>
          <dt>{texts.lastOperation}</dt>
          <dd>
            {app.operation ?? "—"} <small>{app.message}</small>
          </dd>
        </div>
      </dl>
      {[...app.conditions.map((one) => `${one.type}: ${one.message}`), problem.value].filter(Boolean).map((text) => (
        <p class="condition" role="alert" key={text}>
          {text}
        </p>
      ))}
      <Tree nodes={nodes} resources={resources} />
    </>
  );
}
