// Puts the page up: routes by the address after '#', keys, theme.
import { signal } from "@preact/signals";
import { render } from "preact";
import { AppPage } from "./app-page.tsx";
import { ListPage } from "./list-page.tsx";
import { begin, connection, signOut, signedIn } from "./live.ts";
import { SignIn } from "./sign-in.tsx";
import "./style.css";
import { texts } from "./texts.ts";

const route = signal(location.hash.slice(1));
addEventListener("hashchange", () => (route.value = location.hash.slice(1)));
addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLInputElement;
  if (event.key === "/" && !typing) {
    event.preventDefault();
    document.querySelector<HTMLInputElement>("input[type=search]")?.focus();
  }
  if (event.key === "Escape" && route.value) location.hash = "";
});

const stored = localStorage.getItem("theme");
if (stored) document.documentElement.dataset["theme"] = stored;
function switchTheme(): void {
  const dark = getComputedStyle(document.documentElement).getPropertyValue("--dark").trim() === "1";
  const next = dark ? "light" : "dark";
  document.documentElement.dataset["theme"] = next;
  localStorage.setItem("theme", next);
}

function Page() {
  if (signedIn.value === null) return <p class="quiet">{texts.loading}</p>;
  if (!signedIn.value) return <SignIn />;
  return (
    <>
      <header class="top">
        <a class="brand" href="#">
          <img src="./mark.svg" alt="" width="26" height="26" /> Takobune
        </a>
        <span class="grow" />
        <span class={`conn ${connection.value}`} data-testid="conn" data-state={connection.value} role="status">
          {connection.value === "live" ? texts.live : texts.stale}
        </span>
        <button class="plain" onClick={switchTheme} aria-label={texts.theme} title={texts.theme}>
          ◐
        </button>
        <button class="plain" onClick={() => void signOut()}>
          {texts.signOut}
        </button>
      </header>
      <main>{route.value ? <AppPage key={route.value} id={decodeURIComponent(route.value)} /> : <ListPage />}</main>
    </>
  );
}

const root = document.getElementById("app");
if (root) render(<Page />, root);
begin().catch(() => (signedIn.value = false));
