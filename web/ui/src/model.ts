// What the server says, and the pure fold of its frames into the page's state. Knows nothing of the DOM.
export type Sync = "Synced" | "OutOfSync" | "Unknown";
export type Health = "Healthy" | "Suspended" | "Progressing" | "Missing" | "Degraded" | "Unknown";

export interface Condition {
  type: string;
  message: string;
}

export interface AppSummary {
  key: string;
  name: string;
  namespace: string;
  project: string;
  sync: Sync;
  health: Health;
  operation: string | null;
  message: string;
  revision: string;
  repo: string;
  path: string;
  targetRevision: string;
  destination: string;
  destNamespace: string;
  autoSync: boolean;
  conditions: Condition[];
  resources: number;
  outOfSync: number;
}

export interface TreeNode {
  group?: string;
  kind: string;
  namespace?: string;
  name: string;
  uid: string;
  parentRefs?: { uid?: string }[];
  health?: { status: Health; message?: string };
  info?: { name: string; value: string }[];
  images?: string[];
  createdAt?: string;
}

export interface ResourceStatus {
  group?: string;
  kind: string;
  namespace?: string;
  name: string;
  status?: Sync;
  requiresPruning?: boolean;
}

export interface AppDetail {
  status?: { resources?: ResourceStatus[] };
}

export type Frame =
  | { t: "hello"; inc: string }
  | { t: "snapshot"; apps: AppSummary[]; seq: number }
  | { t: "app"; app: AppSummary; seq: number }
  | { t: "gone"; key: string; seq: number }
  | { t: "detail"; key: string; app: AppDetail; seq: number }
  | { t: "tree"; key: string; tree: { nodes: TreeNode[] }; seq: number }
  | { t: "ping" };

export interface State {
  inc: string;
  seq: number;
  apps: ReadonlyMap<string, AppSummary>;
  loaded: boolean;
  trees: ReadonlyMap<string, TreeNode[]>;
  details: ReadonlyMap<string, AppDetail>;
}

export const empty: State = { inc: "", seq: 0, apps: new Map(), loaded: false, trees: new Map(), details: new Map() };

function without<T>(map: ReadonlyMap<string, T>, key: string): ReadonlyMap<string, T> {
  const copy = new Map(map);
  copy.delete(key);
  return copy;
}

export function apply(state: State, frame: Frame): State {
  switch (frame.t) {
    case "hello":
      return frame.inc === state.inc ? state : { ...state, inc: frame.inc };
    case "snapshot":
      return { ...state, apps: new Map(frame.apps.map((app) => [app.key, app])), loaded: true, seq: frame.seq };
    case "app":
      return frame.seq <= state.seq ? state : { ...state, apps: new Map(state.apps).set(frame.app.key, frame.app), seq: frame.seq };
    case "gone":
      return frame.seq <= state.seq
        ? state
        : {
            ...state,
            apps: without(state.apps, frame.key),
            trees: without(state.trees, frame.key),
            details: without(state.details, frame.key),
            seq: frame.seq,
          };
    case "detail":
      return { ...state, details: new Map(state.details).set(frame.key, frame.app) };
    case "tree":
      return { ...state, trees: new Map(state.trees).set(frame.key, frame.tree.nodes) };
    case "ping":
      return state;
  }
}

export interface Filter {
  text: string;
  sync: Sync | "";
  health: Health | "";
}

export function visible(apps: Iterable<AppSummary>, filter: Filter): AppSummary[] {
  const text = filter.text.trim().toLowerCase();
  return [...apps]
    .filter((app) => !filter.sync || app.sync === filter.sync)
    .filter((app) => !filter.health || app.health === filter.health)
    .filter(
      (app) =>
        !text || [app.name, app.project, app.repo, app.destNamespace, app.revision].some((field) => field.toLowerCase().includes(text)),
    )
    .sort((a, b) => a.key.localeCompare(b.key));
}

export interface Placed {
  node: TreeNode;
  x: number;
  y: number;
}

export interface Layout {
  placed: Placed[];
  links: [Placed, Placed][];
  columns: number;
  rows: number;
}

/** A layered tree, left to right: a parent stands at the middle of its children. Parents come before children in `placed`. */
export function layout(nodes: TreeNode[]): Layout {
  const byUid = new Map(nodes.map((node) => [node.uid, node]));
  const children = new Map<string, TreeNode[]>();
  const roots: TreeNode[] = [];
  const order = (a: TreeNode, b: TreeNode) => a.kind.localeCompare(b.kind) || a.name.localeCompare(b.name);
  for (const node of [...nodes].sort(order)) {
    const parent = node.parentRefs?.map((ref) => ref.uid ?? "").find((uid) => byUid.has(uid) && uid !== node.uid);
    if (parent) children.set(parent, [...(children.get(parent) ?? []), node]);
    else roots.push(node);
  }
  const placed: Placed[] = [];
  const links: [Placed, Placed][] = [];
  const seen = new Set<string>();
  let row = 0;
  let columns = 0;
  const place = (node: TreeNode, x: number): Placed => {
    seen.add(node.uid);
    columns = Math.max(columns, x + 1);
    const here: Placed = { node, x, y: 0 };
    placed.push(here);
    const below = (children.get(node.uid) ?? []).filter((child) => !seen.has(child.uid)).map((child) => place(child, x + 1));
    const first = below[0];
    const last = below[below.length - 1];
    here.y = first && last ? (first.y + last.y) / 2 : row++;
    for (const child of below) links.push([here, child]);
    return here;
  };
  for (const root of roots) place(root, 0);
  return { placed, links, columns, rows: row };
}
