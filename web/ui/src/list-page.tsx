// The list of Applications: search, filters with counts, live rows.
import { useSignal } from "@preact/signals";
import { Badge } from "./badges.tsx";
import { state } from "./live.ts";
import { type AppSummary, type Filter, type Health, type Sync, visible } from "./model.ts";
import { texts } from "./texts.ts";

const syncs: Sync[] = ["Synced", "OutOfSync", "Unknown"];
const healths: Health[] = ["Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown"];

/** What the coloured edge shows: an error first, then drift, then health. */
function worst(app: AppSummary): string {
  if (app.conditions.some((one) => one.type.endsWith("Error"))) return "Degraded";
  return app.sync === "OutOfSync" ? "OutOfSync" : app.health;
}

function Row({ app }: { app: AppSummary }) {
  return (
    <a
      class="row"
      href={`#${encodeURIComponent(app.key)}`}
      data-testid="app-row"
      data-app={app.key}
      data-sync={app.sync}
      data-health={app.health}
    >
      <span class={`edge ${worst(app)}`} />
      <span class="name">
        <strong>{app.name}</strong>
        <small>{app.project}</small>
      </span>
      <span>
        <Badge value={app.health} />
      </span>
      <span>
        <Badge value={app.sync} />
        {app.outOfSync > 0 && <small> {app.outOfSync}</small>}
      </span>
      <span class="wide path">
        <code>{app.revision.slice(0, 7)}</code> {app.path}
      </span>
      <span class="wide path">{app.destNamespace}</span>
      <span class="wide path problem">{app.conditions[0]?.message ?? ""}</span>
    </a>
  );
}

export function ListPage() {
  const filter = useSignal<Filter>({ text: "", sync: "", health: "" });
  const all = [...state.value.apps.values()];
  const shown = visible(all, filter.value);
  const chip = <T extends string>(field: "sync" | "health", value: T, count: number) => (
    <button
      key={value}
      class="chip"
      aria-pressed={filter.value[field] === value}
      onClick={() => (filter.value = { ...filter.value, [field]: filter.value[field] === value ? "" : value })}
    >
      {value} <b>{count}</b>
    </button>
  );
  return (
    <>
      <div class="bar">
        <h1>
          {texts.title} <small>{shown.length === all.length ? all.length : `${shown.length}/${all.length}`}</small>
        </h1>
        <input
          type="search"
          placeholder={texts.search}
          aria-label={texts.search}
          value={filter.value.text}
          onInput={(event) => (filter.value = { ...filter.value, text: event.currentTarget.value })}
        />
      </div>
      <div class="chips">
        {syncs
          .map((value) => ({ value, count: all.filter((app) => app.sync === value).length }))
          .filter((one) => one.count)
          .map((one) => chip("sync", one.value, one.count))}
        <span class="gap" />
        {healths
          .map((value) => ({ value, count: all.filter((app) => app.health === value).length }))
          .filter((one) => one.count)
          .map((one) => chip("health", one.value, one.count))}
      </div>
      <section class="rows">
        {shown.map((app) => (
          <Row key={app.key} app={app} />
        ))}
        {!shown.length && <p class="quiet">{!state.value.loaded ? texts.loading : all.length ? texts.none : texts.empty}</p>}
      </section>
    </>
  );
}
