// The sign-in form.
import { useSignal } from "@preact/signals";
import { signIn } from "./live.ts";
import { texts } from "./texts.ts";

export function SignIn() {
  const problem = useSignal("");
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const data = new FormData(event.currentTarget as HTMLFormElement);
    problem.value = await signIn(String(data.get("username")), String(data.get("password"))).catch((error: unknown) => String(error));
  };
  return (
    <form class="sign-in" onSubmit={(event) => void submit(event)}>
      <h1>
        <img src="./mark.svg" alt="" width="40" height="40" /> Takobune
      </h1>
      <label>
        {texts.user}
        <input name="username" autocomplete="username" required autofocus />
      </label>
      <label>
        {texts.password}
        <input name="password" type="password" autocomplete="current-password" required />
      </label>
      <p class="problem" role="alert">
        {problem}
      </p>
      <button class="main">{texts.signIn}</button>
    </form>
  );
}
