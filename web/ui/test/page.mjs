// The page in a real Chromium on the real system. tests/tests/page.rs starts both and acts on the lines printed here:
// "at NAME" says that the page is ready for the change of that name, and this script then waits to see it live.
import { chromium } from "playwright-core";

const [url, password, shots] = process.argv.slice(2);
const flags = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: flags });
const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, reducedMotion: "reduce" });
const page = await context.newPage();
page.setDefaultTimeout(30_000);
const complaints = [];
page.on("pageerror", (error) => complaints.push(String(error)));
page.on("console", (message) => {
  if (message.type() === "error" && !/status of 401|WebSocket connection|ERR_CONNECTION_REFUSED/.test(message.text()))
    complaints.push(message.text());
});
let loads = 0;
page.on("load", () => loads++);
const at = (name) => console.log(`at ${name}`);

async function picture(name) {
  for (const scheme of ["light", "dark"]) {
    for (const width of [1440, 390]) {
      await page.emulateMedia({ colorScheme: scheme });
      await page.setViewportSize({ width, height: 900 });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      if (wide > 0) throw new Error(`${name} is ${wide} px too wide at ${width}`);
      await page.screenshot({ path: `${shots}/${name}-${width}-${scheme}.png` });
    }
  }
  await page.setViewportSize({ width: 1440, height: 900 });
}

await page.goto(url);
await page.getByLabel(/Username/).fill("admin");
await page.getByLabel(/Password/).fill("wrong");
await page.getByRole("button", { name: "Sign in" }).click();
await page.getByRole("alert").getByText("Invalid username or password").waitFor();
await picture("sign-in");
await page.getByLabel(/Password/).fill(password);
await page.getByRole("button", { name: "Sign in" }).click();

const row = page.locator('[data-testid=app-row][data-app="argocd/guestbook"]');
await row.waitFor();
await page.locator("[data-testid=conn][data-state=live]").waitFor();
await page.locator('[data-testid=app-row][data-app="argocd/guestbook"][data-sync=Synced][data-health=Healthy]').waitFor();
const loadsBefore = loads;

at("second-application");
await page.locator('[data-testid=app-row][data-app="argocd/second"]').waitFor();
await page.keyboard.press("/");
await page.keyboard.type("guest");
await page.locator('[data-testid=app-row][data-app="argocd/second"]').waitFor({ state: "detached" });
await page.getByRole("searchbox").fill("");
at("bad-yaml");
await page.locator('[data-testid=app-row][data-app="argocd/second"][data-sync=Unknown]').waitFor();
await page
  .getByText(/second\/config.yaml:5:/)
  .first()
  .waitFor();
await picture("list");

await row.click();
const nodes = (kind, extra = "") => page.locator(`[data-testid=tree-node][data-kind=${kind}]${extra}`);
await nodes("Pod", "[data-health=Healthy]").nth(2).waitFor();
at("four-replicas");
await nodes("Pod", "[data-health=Healthy]").nth(3).waitFor();
at("drift");
await page.waitForFunction(() => document.querySelectorAll("[data-testid=tree-node][data-kind=ConfigMap]").length === 1);
await picture("application");
const asked = page.waitForResponse((answer) => answer.url().includes("/sync") && answer.request().method() === "POST");
await page.getByRole("button", { name: "Sync", exact: true }).click();
if (!(await asked).ok()) throw new Error(`sync was refused: ${await (await asked).text()}`);
await page.locator("[data-testid=app-status][data-sync=Synced]").waitFor();

at("restart");
await page.locator("[data-testid=conn][data-state=stale]").waitFor();
await page.locator("[data-testid=conn][data-state=live]").waitFor();
at("after-restart");
await nodes("ConfigMap", "[data-name=late]").waitFor();
if (loads !== loadsBefore) throw new Error("the page was loaded again");

at("delete");
await page.getByText(/does not exist/).waitFor();
await page.keyboard.press("Escape");
await row.waitFor({ state: "detached" });
await page.getByRole("button", { name: "Sign out" }).click();
await page.getByRole("button", { name: "Sign in" }).waitFor();
if (complaints.length) throw new Error(`the console complained: ${complaints.join("\n")}`);
await browser.close();
console.log("at end");
