// The connection: one websocket, resumed by incarnation and sequence, with back-off. Tells the state by signals.
import { signal } from "@preact/signals";
import { type Frame, apply, empty } from "./model.ts";

export const state = signal(empty);
export const connection = signal<"live" | "stale">("stale");
export const signedIn = signal<boolean | null>(null);

let socket: WebSocket | undefined;
let watching = "";
let attempt = 0;

const base = new URL(".", document.baseURI);

export async function api(path: string, init?: RequestInit): Promise<Response> {
  const answer = await fetch(new URL(`api/v1/${path}`, base), init);
  if (answer.status === 401 && path !== "session") signedIn.value = false;
  return answer;
}

function connect(): void {
  const url = new URL("api/v1/live", base);
  url.protocol = url.protocol.replace("http", "ws");
  url.search = new URLSearchParams({ inc: state.value.inc, seq: String(state.value.seq) }).toString();
  const opened = new WebSocket(url);
  socket = opened;
  opened.onopen = () => {
    attempt = 0;
    connection.value = "live";
    if (watching) watch(watching);
  };
  opened.onmessage = (event: MessageEvent<string>) => {
    state.value = apply(state.value, JSON.parse(event.data) as Frame);
  };
  opened.onclose = () => {
    if (socket !== opened) return;
    connection.value = "stale";
    const pause = Math.min(500 * 2 ** attempt++, 10_000) * (0.5 + Math.random() / 2);
    setTimeout(() => void resume(), pause);
  };
}

async function resume(): Promise<void> {
  await begin().catch(() => {
    setTimeout(() => void resume(), 2000);
  });
}

/** Looks whether somebody is signed in, and goes live. */
export async function begin(): Promise<void> {
  const answer = await fetch(new URL("api/v1/session/userinfo", base));
  const info = (await answer.json()) as { loggedIn?: boolean };
  signedIn.value = info.loggedIn === true;
  if (signedIn.value) connect();
}

/** Asks for the tree and details of one Application, now and whenever they change; "" for none. */
export function watch(key: string): void {
  watching = key;
  if (socket?.readyState !== WebSocket.OPEN) return;
  socket.send(JSON.stringify(key ? { t: "watch", key } : { t: "unwatch" }));
}

export async function signIn(username: string, password: string): Promise<string> {
  const answer = await api("session", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ username, password }),
  });
  if (!answer.ok) return ((await answer.json()) as { message?: string }).message ?? answer.statusText;
  await begin();
  return "";
}

export async function signOut(): Promise<void> {
  await api("session", { method: "DELETE" });
  const old = socket;
  socket = undefined;
  old?.close();
  state.value = empty;
  signedIn.value = false;
}
